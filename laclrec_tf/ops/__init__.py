"""Operations on batches of item ids and on the item table: padding, masks, edits, rows and replicas."""

import os

_BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
if _BACKEND == "tensorflow":
    import keras

    _BACKEND = keras.config.backend()  # it may also be set in Keras's own configuration file
if _BACKEND != "tensorflow":
    raise ImportError(
        f"laclrec_tf needs Keras's TensorFlow backend. Received: {_BACKEND!r}. Set KERAS_BACKEND=tensorflow, or remove "
        'it and "backend" from keras.json, before Keras is first imported.'
    )
