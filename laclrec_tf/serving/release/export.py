"""How an exported model finds the best items of its catalogue."""

from __future__ import annotations

import inspect
import json
import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.data.splits import held_out_pairs
from laclrec_tf.errors import InputError
from laclrec_tf.metrics.ranking import TIE_RULE
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.local.fresh_process import FreshProcessError, answers_of_fresh_process
from laclrec_tf.serving.release.publication import rename_to_next_version
from laclrec_tf.serving.retriever.partitioned_index import (
    DEFAULT_RECALL,
    RECALL_AT,
    PartitionedIndex,
    Partitions,
    index_with_recall,
    partition,
)
from laclrec_tf.serving.retriever.retriever import Retriever
from laclrec_tf.serving.version.folder import model_folder
from laclrec_tf.serving.version.held_out_topk import HeldOutHistories, write_held_out_topk
from laclrec_tf.serving.version.manifest import write_manifest
from laclrec_tf.serving.version.metadata import METADATA_FILE, Evaluation, ModelMetrics, finite
from laclrec_tf.serving.version.model_card import MODEL_CARD_FILE, model_card
from laclrec_tf.serving.version.warmup import (
    WARMUP_FILE,
    example_histories,
    read_warmup_requests,
    warmup_requests,
    write_warmup_requests,
)

TOLERANCE = 1e-5
N_QUERIES = 512
N_HELD_OUT = 64


class ExportCheckError(RuntimeError):
    """The SavedModel, read back in a fresh process, did not answer as the live model does."""


def export_model(
    retriever: Retriever,
    target: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    metrics: ModelMetrics | None = None,
    held_out: HeldOutHistories | None = None,
) -> Path:
    """Write `target/<version>/`, where the version is one above the largest there, or 1.

    The SavedModel is written to a hidden folder beside, which servers ignore. It is then read back in a fresh
    process that cannot import `laclrec_tf`, where it must give the live retriever's answers to the warm-up
    requests: the same strings, numbers within 1e-5. Only then it is renamed into place, whole.

    `assets.extra/` holds `metadata.json`; `tf_serving_warmup_requests`, for batches of 1, 8 and 32; `metrics.json` and
    `model_card.md`; `held_out_topk.json`, what the live retriever recommends for some histories; and `manifest.json`,
    the SHA-256 of every other file, written last.

    Args:
        retriever: what to export.
        target: the model's folder, usually `saved_models/NAME`. It is made when missing.
        metadata: anything that JSON can hold, kept as `metadata` in `metadata.json`. Default: none.
        metrics: how well the model recommends, as far as it is known. Default: nothing is.
        held_out: histories to try the version on before it is pushed. Default: those of the warm-up requests.

    Returns:
        The version's folder.

    Raises:
        InputError: `target` is a file, one version's own folder or not writable, or the model's weights are
            not finite. Nothing is left behind.
        ExportCheckError: the answers differ. Nothing is left behind.

    Example:
        >>> import tempfile
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
    partial = target / f".partial-{uuid.uuid4().hex}"
    with model_folder(target):
        try:
            _write(retriever, partial, target.resolve().name, description)
            _check_in_fresh_process(retriever, partial)
            _write_evidence(retriever, partial, target.resolve().name, metrics or ModelMetrics(), held_out)
            return rename_to_next_version(partial, target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
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
        "n_retired": len(retriever.retired_ids),
        "max_length": retriever.max_length,
        "tensorflow": tf.__version__,
        "metadata": dict(metadata or {}),
    }
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


def _write(retriever: Retriever, folder: Path, model_name: str, description: str) -> None:
    folder.mkdir()
    _save(retriever, folder)
    requests = warmup_requests(retriever.signatures, retriever.vocabulary, retriever.max_length, model_name)
    write_warmup_requests(folder, requests)
    (folder / METADATA_FILE).write_text(description, encoding="utf-8")


def _save(retriever: Retriever, folder: Path) -> None:
    """Save the signatures and what they read, and not the retriever: its functions would all be traced anew."""
    traced = {name: function.get_concrete_function() for name, function in retriever.signatures.items()}
    read = tf.Module()
    read.lookup = retriever.lookup
    read.weights = list({id(each): each for function in traced.values() for each in function.variables}.values())
    # A traced function has lost the defaults of its inputs, so those that have some are traced again after all.
    signatures = {
        name: function if _has_defaults(function) else traced[name] for name, function in retriever.signatures.items()
    }
    tf.saved_model.save(read, str(folder), signatures=signatures)


def _has_defaults(function: Any) -> bool:
    parameters = inspect.signature(function.python_function).parameters.values()
    return any(parameter.default is not parameter.empty for parameter in parameters)


def _write_evidence(
    retriever: Retriever, folder: Path, model_name: str, metrics: ModelMetrics, held_out: HeldOutHistories | None
) -> None:
    """Write what a push looks at, and the manifest of everything last."""
    if held_out is None:
        examples = example_histories(retriever.vocabulary, retriever.max_length)
        held_out = HeldOutHistories("the example histories of the warm-up requests", examples)
    write_held_out_topk(folder, held_out, retriever.signatures["serving_default"])
    metrics.write(folder)
    description = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
    (folder / MODEL_CARD_FILE).write_text(model_card(model_name, description, metrics), encoding="utf-8")
    write_manifest(folder)


def _check_in_fresh_process(retriever: Retriever, folder: Path) -> None:
    requests = read_warmup_requests(folder)
    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(answers_of_fresh_process, folder, folder / WARMUP_FILE)
        live = [_live_answer(retriever, request) for request in requests]  # while the other process starts
        try:
            fresh = answered.result()
        except FreshProcessError as error:
            raise ExportCheckError(f"The SavedModel does not run in a fresh process:\n{error}") from error
    for request, expected, response in zip(requests, live, fresh, strict=True):
        for name, values in expected.items():
            if not _same(values, tf.make_ndarray(response.outputs[name])):
                raise ExportCheckError(
                    f"The SavedModel, read back in a fresh process, gives other '{name}' for signature "
                    f"'{request.model_spec.signature_name}' than the live model. Nothing was exported."
                )


def _live_answer(retriever: Retriever, request: predict_pb2.PredictRequest) -> dict[str, np.ndarray]:
    inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
    outputs = retriever.signatures[request.model_spec.signature_name](**inputs)
    return {name: output.numpy() for name, output in outputs.items()}


def _same(expected: np.ndarray, received: np.ndarray) -> bool:
    if expected.shape != received.shape:
        return False
    if expected.dtype == object:
        return bool((expected == received).all())
    return np.allclose(expected, received, rtol=TOLERANCE, atol=TOLERANCE)


@dataclass(frozen=True)
class IndexSettings:
    """Settings of `laclrec-tf export`.

    Args:
        kind: "exact" scores all items, "partitioned" those of some partitions. Default: "exact".
        recall: for partitions: the share of the 20 best items to be found, above 0 to 1. Default: None, 0.98.
        n_partitions: for partitions: how many to begin with; large ones are cut. Default: None, the square root of the
            number of items.
        int8: for partitions: look for items with 8-bit vectors. Default: False.

    Raises:
        InputError: a setting is out of its range, or is given although all items are scored.

    Example:
        >>> IndexSettings(recall=0.9)
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: --recall, --partitions and --int8 are settings of `--index partitioned`.
    """

    kind: str = "exact"
    recall: float | None = None
    n_partitions: int | None = None
    int8: bool = False

    def __post_init__(self) -> None:
        if self.kind == "exact" and (self.recall, self.n_partitions, self.int8) != (None, None, False):
            raise InputError("--recall, --partitions and --int8 are settings of `--index partitioned`.")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise InputError(f"Argument `recall` must be above 0 and at most 1. Received: recall={self.recall}.")
        if self.n_partitions is not None and self.n_partitions < 1:
            raise InputError(
                f"Argument `n_partitions` (--partitions) must be at least 1. Received: {self.n_partitions}."
            )

    def partition(self, table: np.ndarray, item_ids: np.ndarray) -> Partitions:
        """Cluster items `[M]` by their rows in a table `[N + 3, D]`."""
        n_partitions = self.n_partitions or max(1, round(np.sqrt(len(item_ids))))
        return partition(table[item_ids], item_ids, n_partitions)


def partitioned_index(
    folder: RunFolder, retriever: Retriever, settings: IndexSettings
) -> tuple[PartitionedIndex, dict[str, Any]]:
    """Cluster a run's items and look into as few partitions as the recall needs.

    The recall is measured on the histories that the run was trained on, where its data still lies; else on histories
    drawn at random.

    Args:
        folder: the run.
        retriever: the run's, which scores all items.
        settings: of the partitions.

    Returns:
        The index and its description: kind, partitions, probes, int8, recall, and what histories measured it.
    """
    vectors = np.array(retriever.exact_index.item_vectors())
    active = np.setdiff1d(np.arange(1, retriever.n_items + 1), [*retriever.retired_ids]).astype(np.int32)
    partitions = settings.partition(vectors, active)
    users, source = user_vectors(folder, retriever)
    index = index_with_recall(
        retriever.exact_index, partitions, users, settings.recall or DEFAULT_RECALL, settings.int8
    )
    return index, {
        "kind": "partitioned",
        "partitions": index.n_partitions,
        "probes": index.n_probes,
        "int8": index.int8,
        f"recall@{RECALL_AT}": round(index.recall(retriever.exact_index, users), 4),
        "measured_on": f"{len(users)} {source} histories",
    }


def user_vectors(folder: RunFolder, retriever: Retriever) -> tuple[np.ndarray, str]:
    """Embed histories of a run's users.

    Args:
        folder: the run.
        retriever: the run's.

    Returns:
        `[B, D]` float32, at most 512, and where the histories come from: "trained" or "drawn".
    """
    histories, source = _histories(folder, retriever)
    return retriever.embed_history(tf.constant(padded_batch(histories), tf.string))["user_vectors"].numpy(), source


def _histories(folder: RunFolder, retriever: Retriever) -> tuple[list[list[str]], str]:
    try:
        _, histories = folder.data.histories()
    except InputError:
        examples = example_histories(folder.vocabulary, retriever.max_length)
        return [history for history in examples if history][:-1], "drawn"
    chosen = np.random.default_rng(0).permutation(len(histories))[:N_QUERIES]
    return [folder.vocabulary.to_items(histories[i][-retriever.max_length :].tolist()) for i in chosen], "trained"


def export(run: str | Path, to: str | Path, *, index: IndexSettings | None = None, show_progress: bool = True) -> Path:
    """Write `to/<next integer version>/`, checked in a fresh process before it is renamed into place.

    Args:
        run: a folder made by `laclrec-tf train`.
        to: the model's folder, usually `saved_models/NAME`.
        index: how the best items are found. Default: exactly.
        show_progress: Default: True.

    Returns:
        The version's folder; its `assets.extra/metadata.json` describes the index and its recall.

    Raises:
        InputError: there is no finished run, `to` is a file or cannot be written, or an index setting is out of its
            range.
    """
    settings = index or IndexSettings()
    folder = RunFolder.open(run)
    with spinner(f"exporting {run}", disable=not show_progress):
        retriever = Retriever(folder.model, folder.vocabulary, folder.popularity, retired=folder.retired)
        described: dict[str, Any] = {"kind": settings.kind}
        if settings.kind == "partitioned":
            made, described = partitioned_index(folder, retriever, settings)
            retriever = Retriever(
                folder.model, folder.vocabulary, folder.popularity, retired=folder.retired, index=made
            )
        return export_model(
            retriever,
            Path(to),
            # Where the data lie on this machine is nobody else's business; their hash says what they are.
            metadata=folder.record | {"data_folder": Path(folder.record["data_folder"]).name, "index": described},
            metrics=run_metrics(folder),
            held_out=held_out_histories(folder),
        )


def run_metrics(run: RunFolder) -> ModelMetrics:
    """Collect the metrics in a run's record and in its evaluation files.

    Args:
        run: the run.

    Returns:
        The metrics; the counts of the data only if the record or the prepared data have them.

    Raises:
        InputError: an evaluation file is damaged.
    """
    record = run.record
    evaluations: dict[str, Evaluation] = {}
    for evaluation in [*_of_training(record), *_of_files(run)]:
        before = evaluations.get(evaluation.name)
        if before is not None:  # the training also measured the augmenter
            evaluation = Evaluation(**vars(evaluation) | {"metrics": {**before.metrics, **evaluation.metrics}})
        evaluations[evaluation.name] = evaluation
    return ModelMetrics(
        data_hash=record["data_hash"],
        data_counts=_counts(run),
        trained_on=record["trained_on"],
        seed=record["settings"]["seed"],
        preset=record["settings"]["preset"],
        evaluations=tuple(evaluations.values()),
    )


def _of_training(record: Mapping[str, Any]) -> list[Evaluation]:
    # A refit was also trained on the validation items, so its earlier validation does not describe it.
    if record["trained_on"] == "refit" or not record.get("validation"):
        return []
    return [Evaluation("validation", "full", finite(record["validation"]), tie_rule=TIE_RULE)]


def _of_files(run: RunFolder) -> list[Evaluation]:
    evaluations = []
    for file in sorted(run.folder.glob("evaluation-*.json"), key=lambda file: file.stem):
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            if any(report[name] != run.record[name] for name in ("data_hash", "trained_on")):
                continue  # copied here from another run
            metrics = {name: value for name, value in report.items() if "@" in name}
            seed = report["negatives_seed"] if report["protocol"].startswith("sampled") else None
            about = report["split"], report["protocol"], finite(metrics), report["users"], report["tie_rule"], seed
            evaluations.append(Evaluation(*about))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{file} is damaged. Delete it, or run `laclrec-tf evaluate` again.") from None
    return evaluations


def _counts(run: RunFolder) -> Mapping[str, int] | None:
    if "data_counts" in run.record:
        return run.record["data_counts"]
    try:
        return run.data.counts
    except InputError:
        return None


def held_out_histories(run: RunFolder) -> HeldOutHistories | None:
    """Select at most 64 histories without their test item, evenly spread over the users.

    Args:
        run: the run.

    Returns:
        The histories before the test item; None if the prepared data is missing or has none.
    """
    try:
        _, histories = run.data.histories()
    except InputError:
        return None
    before = [history for history, _ in held_out_pairs(histories, "test")]
    if not before:
        return None
    chosen = np.linspace(0, len(before) - 1, min(N_HELD_OUT, len(before))).round().astype(int)
    return HeldOutHistories(
        "the prepared data, before the test item", [run.vocabulary.to_items(before[user].tolist()) for user in chosen]
    )
