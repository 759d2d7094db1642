"""Models that answer in this process: a SavedModel on disk or a retriever in memory."""
