"""The answers of a SavedModel in a new process, in which neither this package nor Keras can be imported.

The new process runs this file as a script, by its path, so the file imports nothing of `laclrec_tf`. Its answers show
that a server needs nothing but the SavedModel.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

if __name__ == "__main__":
    # Importing these now fails. TensorFlow, which imports Keras where it is installed, must come later.
    sys.modules.update(dict.fromkeys(("laclrec_tf", "keras", "tf_keras")))  # type: ignore[arg-type]

import tensorflow as tf  # noqa: E402
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2  # noqa: E402


class FreshProcessError(RuntimeError):
    """The SavedModel could not be loaded, or did not answer. The text is the error output of the process."""

    @property
    def reason(self) -> str:
        """The last line of the text, which names the error."""
        return str(self).splitlines()[-1]


def answers_of_fresh_process(version_folder: Path, *requests: Path) -> list[predict_pb2.PredictResponse]:
    """Load a version in a new process and answer requests there.

    Args:
        version_folder: the version's folder.
        *requests: TFRecord files of serialised `PredictionLog`s, see `write_requests`.

    Returns:
        One response for each request, in order.

    Raises:
        FreshProcessError: the process failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        answers = str(Path(scratch) / "answers.tfrecord")
        # -I: neither the working folder nor PYTHONPATH is on the path.
        command = [sys.executable, "-I", __file__, str(version_folder), answers, *map(str, requests)]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if process.returncode:
            killed = f"killed by signal {-process.returncode}" if process.returncode < 0 else ""
            raise FreshProcessError("\n".join(filter(None, (process.stderr.strip(), killed))) or "no reason given")
        records = tf.data.TFRecordDataset(answers).as_numpy_iterator()
        return [predict_pb2.PredictResponse.FromString(record) for record in records]


def _write_answers(folder: str, answers: str, *requests: str) -> None:
    signatures = tf.saved_model.load(folder).signatures
    with tf.io.TFRecordWriter(answers) as writer:
        for record in tf.data.TFRecordDataset(list(requests)):
            request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
            inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
            response = predict_pb2.PredictResponse()
            for name, output in signatures[request.model_spec.signature_name](**inputs).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(output.numpy()))
            writer.write(response.SerializeToString())


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    _write_answers(*sys.argv[1:])
