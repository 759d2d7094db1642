"""Measurements of training, indexes and servers."""
