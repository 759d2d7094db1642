"""What a SavedModel answers in a process of its own, where neither this package nor Keras can be imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.serving.local import replay


class FreshProcessError(RuntimeError):
    """The SavedModel could not be loaded, or did not answer; the text is what the process said."""

    @property
    def reason(self) -> str:
        """The last line of the text, which names the error."""
        return str(self).splitlines()[-1]


def answers_of_fresh_process(version_folder: Path, *requests: Path) -> list[predict_pb2.PredictResponse]:
    """Load a version in a new process and have it answer requests there.

    Args:
        version_folder: the version's folder.
        *requests: TFRecord files of serialised `PredictionLog`s, see `write_requests`.

    Returns:
        One response a request, in order.

    Raises:
        FreshProcessError: the process failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        answers = str(Path(scratch) / "answers.tfrecord")
        # -I: neither the working folder nor PYTHONPATH is on the path.
        command = [sys.executable, "-I", replay.__file__, str(version_folder), answers, *map(str, requests)]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if process.returncode:
            killed = f"killed by signal {-process.returncode}" if process.returncode < 0 else ""
            raise FreshProcessError("\n".join(filter(None, (process.stderr.strip(), killed))) or "no reason given")
        records = tf.data.TFRecordDataset(answers).as_numpy_iterator()
        return [predict_pb2.PredictResponse.FromString(record) for record in records]
