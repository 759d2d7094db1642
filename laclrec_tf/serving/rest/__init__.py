"""TensorFlow Serving's REST protocol over the embedded server."""
