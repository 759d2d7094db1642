"""Whether a version is fit to be served: whole, free of Python, and answering as the model did when it was trained."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.local.fresh_process import FreshProcessError, answers_of_fresh_process
from laclrec_tf.serving.stock_ops import foreign_ops
from laclrec_tf.serving.version.held_out_topk import (
    SIGNATURE,
    HeldOutHistories,
    RankedItems,
    ranked_items,
    read_held_out_topk,
    same_ranking,
)
from laclrec_tf.serving.version.manifest import read_manifest, verify_manifest
from laclrec_tf.serving.version.warmup import WARMUP_FILE, read_warmup_requests, write_requests


@dataclass(frozen=True)
class Validation:
    """What a version has stood.

    Args:
        files: how many files are as the manifest says.
        warmup_requests: how many were answered.
        held_out_histories: how many were answered as by the live model.
        source: where those histories come from.
    """

    files: int
    warmup_requests: int
    held_out_histories: int
    source: str


def validate(version_folder: Path) -> Validation:
    """Check a version before it is served.

    Its files must fit the manifest. Its graph may hold operations of stock TensorFlow only, none that calls Python.
    In a fresh process, which can import neither `laclrec_tf` nor Keras, it must answer every warm-up request, and
    recommend for the held-out histories what the training process recommended: the same items, scores within 1e-5;
    items whose scores tie may change places.

    Args:
        version_folder: the version's folder.

    Returns:
        What was checked.

    Raises:
        InputError: it is not fit; the message says what failed.
    """
    verify_manifest(version_folder)
    foreign = foreign_ops(version_folder)
    if foreign:
        raise _unfit(version_folder, f"its graph needs {', '.join(foreign)}, which a server in C++ cannot run")
    held_out, expected = read_held_out_topk(version_folder)
    requests = read_warmup_requests(version_folder)
    if not requests:
        raise _unfit(version_folder, f"{WARMUP_FILE.as_posix()} holds no request, so nothing warms it up")
    with tempfile.TemporaryDirectory() as scratch:
        asked = Path(scratch) / "held_out.tfrecord"
        write_requests(asked, [_request(held_out)])
        try:
            *_, response = answers_of_fresh_process(version_folder, version_folder / WARMUP_FILE, asked)
        except FreshProcessError as error:
            raise _unfit(version_folder, f"it does not run in a fresh process: {error.reason}") from error
    _compare(version_folder, expected, response)
    return Validation(len(read_manifest(version_folder)), len(requests), len(expected), held_out.source)


def _request(held_out: HeldOutHistories) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = SIGNATURE
    request.inputs["history"].CopyFrom(tf.make_tensor_proto(padded_batch(held_out.histories), tf.string))
    return request


def _compare(version_folder: Path, expected: list[RankedItems], response: predict_pb2.PredictResponse) -> None:
    received = ranked_items({name: tf.make_ndarray(response.outputs[name]) for name in ("item_ids", "scores")})
    wrong = [
        row for row, answers in enumerate(zip(expected, received, strict=True), start=1) if not same_ranking(*answers)
    ]
    if wrong:
        raise _unfit(
            version_folder,
            f"it recommends other items or scores than the training process for {len(wrong)} of {len(expected)} "
            f"held-out histories, the first of them number {wrong[0]}",
        )


def _unfit(version_folder: Path, reason: str) -> InputError:
    return InputError(f"{version_folder} is not fit to be served: {reason}. Export the model again.")
