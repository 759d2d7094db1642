"""A web page to explore a model by hand."""
