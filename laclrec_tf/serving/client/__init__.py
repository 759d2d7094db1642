"""Clients of a served model, without TensorFlow."""
