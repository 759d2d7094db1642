"""From a retriever to a versioned SavedModel that a server may pick up at any moment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.serving import replay
from laclrec_tf.serving.model_versions import SAVED_MODEL_FILE, version_numbers
from laclrec_tf.serving.retriever import Retriever
from laclrec_tf.serving.warmup import read_warmup_requests, warmup_requests, write_warmup_requests

METADATA_FILE = Path("assets.extra", "metadata.json")
TOLERANCE = 1e-5


class ExportCheckError(RuntimeError):
    """The SavedModel, read back in a fresh process, did not answer as the live model does."""


def export_model(retriever: Retriever, target: str | Path, *, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write `target/<version>/`, where the version is one above the largest there, or 1.

    The SavedModel is written to a hidden folder beside, which servers ignore. It is then read back in a fresh
    process that cannot import `laclrec_tf`, where it must give the live retriever's answers to the warm-up
    requests: the same strings, numbers within 1e-5. Only then it is renamed into place, whole.

    `assets.extra/` holds `metadata.json` and `tf_serving_warmup_requests`, for batches of 1 and 8.

    Args:
        retriever: what to export.
        target: the model's folder, usually `saved_models/NAME`. It is made when missing.
        metadata: anything that JSON can hold, kept as `metadata` in `metadata.json`. Default: none.

    Returns:
        The version's folder.

    Raises:
        InputError: `target` is a file, one version's own folder or not writable, or the model's weights are
            not finite. Nothing is left behind.
        ExportCheckError: the answers differ. Nothing is left behind.

    Example:
        >>> from laclrec_tf.models import LACLRec
        >>> from laclrec_tf.item_vocabulary import ItemVocabulary
        >>> vocabulary = ItemVocabulary(["tent", "stove"])
        >>> retriever = Retriever(LACLRec(n_items=2, width=8), vocabulary, np.array([3, 1]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_model(retriever, Path(folder) / "shop").name
        '1'
    """
    target = Path(target)
    _check_weights(retriever)
    description = _description(retriever, metadata)
    made = _make_folders(target)
    partial = target / f".partial-{uuid.uuid4().hex}"
    try:
        _write(retriever, partial, target.resolve().name, description)
        _check_in_fresh_process(retriever, partial)
        return _rename_into_place(partial, target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in reversed(made):
            with suppress(OSError):  # somebody else may have put something there
                folder.rmdir()
        if isinstance(error, OSError):
            raise _not_writable(target, error) from error
        raise


def _check_weights(retriever: Retriever) -> None:
    for variable in retriever.model_variables:
        if not np.isfinite(variable.numpy()).all():
            raise InputError(
                f"The model's weight {variable.name} holds NaN or inf, so it cannot recommend. "
                "Train again with a lower learning rate."
            )


def _description(retriever: Retriever, metadata: Mapping[str, Any] | None) -> str:
    description = {
        "signatures": sorted(retriever.signatures),
        "n_items": retriever.n_items,
        "max_length": retriever.max_length,
        "tensorflow": tf.__version__,
        "metadata": dict(metadata or {}),
    }
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


def _make_folders(target: Path) -> list[Path]:
    """Make `target` and return the folders that were missing, outermost first."""
    if target.exists() and not target.is_dir():
        raise InputError(f"Cannot export to {target}: it is a file. Give a folder, such as saved_models/NAME.")
    if (target / SAVED_MODEL_FILE).exists():
        raise InputError(f"Cannot export to {target}: it is one version of a model. Give the folder above it.")
    missing = [folder for folder in (target, *target.parents) if not folder.exists()][::-1]
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(target, error) from error
    return missing


def _not_writable(target: Path, error: OSError) -> InputError:
    return InputError(f"Cannot write to {target}: {reason_of(error)}. Give another folder.")


def _write(retriever: Retriever, folder: Path, model_name: str, description: str) -> None:
    folder.mkdir()
    tf.saved_model.save(retriever, str(folder), signatures=retriever.signatures)
    requests = warmup_requests(retriever.signatures, retriever.vocabulary, retriever.max_length, model_name)
    write_warmup_requests(folder, requests)
    (folder / METADATA_FILE).write_text(description, encoding="utf-8")


def _check_in_fresh_process(retriever: Retriever, folder: Path) -> None:
    requests = read_warmup_requests(folder)
    with tempfile.TemporaryDirectory() as scratch:
        answers = str(Path(scratch) / "answers.tfrecord")
        # -I: neither the working folder nor PYTHONPATH is on the path.
        command = [sys.executable, "-I", replay.__file__, str(folder), answers]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if process.returncode:
            raise ExportCheckError(f"The SavedModel does not run in a fresh process:\n{process.stderr.strip()}")
        fresh = [
            predict_pb2.PredictResponse.FromString(record)
            for record in tf.data.TFRecordDataset(answers).as_numpy_iterator()
        ]
    for request, response in zip(requests, fresh, strict=True):
        signature = request.model_spec.signature_name
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        for name, expected in retriever.signatures[signature](**inputs).items():
            if not _same(expected.numpy(), tf.make_ndarray(response.outputs[name])):
                raise ExportCheckError(
                    f"The SavedModel, read back in a fresh process, gives other '{name}' for signature "
                    f"'{signature}' than the live model. Nothing was exported."
                )


def _same(expected: np.ndarray, received: np.ndarray) -> bool:
    if expected.shape != received.shape:
        return False
    if expected.dtype == object:
        return bool((expected == received).all())
    return np.allclose(expected, received, rtol=TOLERANCE, atol=TOLERANCE)


def _rename_into_place(partial: Path, target: Path) -> Path:
    version = max(version_numbers(target), default=0) + 1
    while True:
        try:
            # Fails when the name is taken: another export may have been faster.
            partial.rename(target / str(version))
        except OSError:
            if not (target / str(version)).exists():
                raise
            version += 1
        else:
            return target / str(version)
