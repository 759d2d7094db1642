"""What a version's folder holds beside the SavedModel."""
