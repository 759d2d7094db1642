"""How well a run ranks held-out items, and what its augmenter does."""
