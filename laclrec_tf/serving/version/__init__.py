"""A version's folder: look-ups, and the files next to the SavedModel."""
