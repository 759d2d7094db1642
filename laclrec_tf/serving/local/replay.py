"""A script: answer requests with a SavedModel in a process that knows nothing of this package, nor of Keras.

It is run by its path, with the version's folder, the file to write answers to and files of requests, and must
import nothing of `laclrec_tf`: it shows that the SavedModel is all a server needs.
"""

from __future__ import annotations

import os
import sys
import threading
import time

if __name__ == "__main__":
    # Before TensorFlow comes, which would import Keras where it is installed: whoever imports these now fails.
    sys.modules.update(dict.fromkeys(("laclrec_tf", "keras", "tf_keras")))  # type: ignore[arg-type]

import tensorflow as tf  # noqa: E402
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2  # noqa: E402


def replay(folder: str, answers: str, *requests: str) -> None:
    """Write one serialised `PredictResponse` for each request, in order.

    Args:
        folder: the version's folder.
        answers: TFRecord file to write.
        *requests: TFRecord files of serialised `PredictionLog`s, such as the version's warm-up requests.
    """
    signatures = tf.saved_model.load(folder).signatures
    with tf.io.TFRecordWriter(answers) as writer:
        for record in tf.data.TFRecordDataset(list(requests)):
            request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
            inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
            response = predict_pb2.PredictResponse()
            for name, output in signatures[request.model_spec.signature_name](**inputs).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(output.numpy()))
            writer.write(response.SerializeToString())


def end_with(parent: int, every: float = 0.5) -> None:
    """End this process when its parent is gone: nobody waits for the answers.

    Args:
        parent: the process that must be the parent.
        every: seconds between two looks.
    """
    while os.getppid() == parent:
        time.sleep(every)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    replay(*sys.argv[1:])
