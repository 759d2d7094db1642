"""Several models, seeds and data sets compared on the same users."""
