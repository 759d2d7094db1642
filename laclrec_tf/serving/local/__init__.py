"""Models answered in this process: a SavedModel on disk or a model in memory."""
