"""Export: a run, or a retriever, becomes a version of a served model.

`export` builds the index of a run and collects its metrics. `export_model` writes any retriever as a SavedModel, and
checks it before it becomes visible.
"""

from __future__ import annotations

import inspect
import json
import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.metrics.ranking import TIE_RULE, served_protocol
from laclrec_tf.ops.finite import nonfinite_weight
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.local.fresh_process import FreshProcessError, answers_of_fresh_process
from laclrec_tf.serving.release.publication import rename_to_next_version
from laclrec_tf.serving.retriever.exact_index import ExactIndex
from laclrec_tf.serving.retriever.partitioned_index import (
    DEFAULT_RECALL,
    RECALL_AT,
    PartitionedIndex,
    index_with_recall,
    partition,
)
from laclrec_tf.serving.retriever.retriever import Retriever
from laclrec_tf.serving.retriever.selection import NO_SCORE
from laclrec_tf.serving.version.folder import model_folder
from laclrec_tf.serving.version.held_out_topk import TOLERANCE, HeldOutHistories, write_held_out_topk
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

N_QUERIES = 512
N_HELD_OUT = 64


def export(
    run: str | Path,
    to: str | Path,
    *,
    index: IndexSettings | None = None,
    edits: str = "chosen",
    exclude_history: bool | None = None,
    show_progress: bool = True,
) -> Path:
    """Write a run to `to/<next integer version>/`, see `export_model`.

    Args:
        run: a folder that `laclrec-tf train` wrote.
        to: the model's folder, usually `saved_models/NAME`.
        index: how the best items are found. Default: by scoring all items.
        edits: "none", "uniform" or "learned": whether all signatures that recommend mix their predictions over the
            edits of a history, see `laclrec_tf.layers.EditMixture`. Default: "chosen", what the run's calibration
            chose.
        exclude_history: whether items of a history are not recommended, unless a request says otherwise. Default: the
            run's, see `RunFolder.exclude_history`.
        show_progress: whether to show a spinner. Default: True.

    Returns:
        The version's folder; its `assets.extra/metadata.json` describes the index and its recall.

    Raises:
        InputError: there is no finished run, `to` is a file or cannot be written, an index setting is out of its
            range, or `edits` is unknown or not calibrated.
    """
    settings = index or IndexSettings()
    folder = RunFolder.open(run)
    edits = folder.edits_to_use(edits)
    if settings.kind == "partitioned":
        folder.check_vectors()
    with spinner(f"exporting {run}", disable=not show_progress):
        retriever_with = partial(
            Retriever,
            folder.model,
            folder.vocabulary,
            folder.popularity,
            retired=folder.retired,
            exclude_history=exclude_history,
        )
        retriever = retriever_with(edits=edits)
        description: dict[str, Any] = {"kind": settings.kind}
        if settings.kind == "partitioned":
            queries, source = example_queries(folder, retriever)
            users = retriever.embed_history(queries)["user_vectors"].numpy()
            partitioned = settings.build(retriever.exact_index, retriever.active_ids, users)
            description |= partitioned.description(retriever.exact_index, users)
            description["measured_on"] = f"{len(users)} {source} histories"
            exact, retriever = retriever, retriever_with(edits=edits, index=partitioned)
            if edits != "none":
                description[f"mixed_recall@{RECALL_AT}"] = round(_shared_answers(exact, retriever, queries), 4)
        return export_model(
            retriever,
            to,
            # The path of the data on this machine is private; the hash identifies the data.
            metadata=folder.record
            | {"data_folder": Path(folder.record["data_folder"]).name, "index": description, "served_edits": edits},
            metrics=run_metrics(folder, edits),
            held_out=held_out_histories(folder),
        )


@dataclass(frozen=True)
class IndexSettings:
    """How an exported model finds the best items of its catalogue: the settings of `laclrec-tf export`.

    Args:
        kind: "exact" scores all items, "partitioned" those of some partitions. Default: "exact".
        recall: for partitions: min share of the 20 best items to be found, above 0 and at most 1. Default: 0.98.
        n_partitions: for partitions: their number before large ones are cut. Default: square root of the number of
            items.
        int8: for partitions: search with 8-bit vectors. Default: False.

    Raises:
        InputError: a setting is out of range, or is given although all items are scored.

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

    def build(self, exact: ExactIndex, item_ids: np.ndarray, user_vectors: np.ndarray) -> PartitionedIndex:
        """Cluster items, and search as few partitions as the recall needs.

        Args:
            exact: index that finds the best items exactly, and has their vectors.
            item_ids: `[M]` int32, the items to find.
            user_vectors: `[B, D]` float32, typical queries.

        Raises:
            InputError: there are more partitions than items.
        """
        vectors = np.array(exact.item_vectors())[item_ids]
        partitions = partition(vectors, item_ids, self.n_partitions or max(1, round(np.sqrt(len(item_ids)))))
        return index_with_recall(exact, partitions, user_vectors, self.recall or DEFAULT_RECALL, self.int8)


def example_queries(folder: RunFolder, retriever: Retriever) -> tuple[tf.Tensor, str]:
    """Return at most 512 histories of a run's users.

    Args:
        folder: the run.
        retriever: the run's retriever.

    Returns:
        `[B, S]` string, and the origin of the histories: "trained", or "drawn" at random if the prepared data is
        missing.
    """
    try:
        _, histories = folder.data.histories()
    except InputError:
        examples = example_histories(folder.vocabulary, retriever.max_length)
        queries, source = [history for history in examples if history][:-1], "drawn"
    else:
        chosen = np.random.default_rng(0).permutation(len(histories))[:N_QUERIES]
        latest = [histories[user][-retriever.max_length :] for user in chosen]
        queries, source = [folder.vocabulary.to_items(history.tolist()) for history in latest], "trained"
    return tf.constant(padded_batch(queries), tf.string), source


def _shared_answers(exact: Retriever, other: Retriever, queries: tf.Tensor) -> float:
    """Return the share of the 20 items that the exact retriever recommends that another one recommends as well."""
    found = [
        answers.retrieve(queries, k=tf.constant(RECALL_AT), exclude_history=tf.constant(False))["item_ids"].numpy()
        for answers in (exact, other)
    ]
    shared = [np.intersect1d(*rows).size / len(set(rows[0])) for rows in zip(*found, strict=True)]
    return float(np.mean(shared))


def run_metrics(run: RunFolder, edits: str = "none") -> ModelMetrics:
    """Collect the metrics in a run's record and in its evaluation files.

    Args:
        run: the run.
        edits: the kind of edits that the metrics were measured with. Default: "none".

    Returns:
        The metrics; the counts of the data only if the record or the prepared data have them.

    Raises:
        InputError: an evaluation file is damaged.
    """
    record = run.record
    evaluations: dict[str, Evaluation] = {}
    for evaluation in [*_of_training(run, edits), *_of_files(run, edits)]:
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


def _of_training(run: RunFolder, edits: str) -> list[Evaluation]:
    record = run.record
    calibrated = record.get("edits", {})
    measured, users = record.get("validation"), None
    if edits != "none":  # only what was chosen is measured
        is_chosen = edits == calibrated.get("chosen")
        measured, users = (calibrated.get("validation") if is_chosen else None), calibrated.get("validated_users")
    # A refit was also trained on the validation items, so its earlier validation does not describe it.
    if record["trained_on"] == "refit" or not measured:
        return []
    protocol = served_protocol(run.exclude_history)
    return [Evaluation("validation", protocol, finite(measured), users, TIE_RULE)]


def _of_files(run: RunFolder, edits: str) -> list[Evaluation]:
    evaluations = []
    for file in sorted(run.folder.glob("evaluation-*.json"), key=lambda file: file.stem):
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            if any(report[name] != run.record[name] for name in ("data_hash", "trained_on")):
                continue  # copied here from another run
            if report.get("edits", "none") != edits:
                continue
            if "served_recall@10" in report:
                continue  # of an earlier version, in which "full" ranked items of the history
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
        before = [history for history, _ in run.data.split().pairs("test")]
    except InputError:
        return None
    if not before:
        return None
    chosen = np.linspace(0, len(before) - 1, min(N_HELD_OUT, len(before))).round().astype(int)
    return HeldOutHistories(
        "the prepared data, before the test item", [run.vocabulary.to_items(before[user].tolist()) for user in chosen]
    )


class ExportCheckError(RuntimeError):
    """The SavedModel did not answer in a new process as the live model does."""


def export_model(
    retriever: Retriever,
    target: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    metrics: ModelMetrics | None = None,
    held_out: HeldOutHistories | None = None,
) -> Path:
    """Write `target/<version>/`, where the version is one above the largest there, or 1.

    The SavedModel is written to a hidden folder, which servers ignore, and loaded in a new process that cannot import
    `laclrec_tf`. There it must answer the warm-up requests as the live retriever does: the same strings, numbers within
    1e-5. Then the folder is renamed to the version.

    `assets.extra/` holds `metadata.json`; `tf_serving_warmup_requests`, for batches of 1, 8 and 32; `metrics.json` and
    `model_card.md`; `held_out_topk.json`, the live retriever's recommendations for some histories; and `manifest.json`,
    the SHA-256 of every other file, written last.

    Args:
        retriever: the retriever to export.
        target: the model's folder, usually `saved_models/NAME`; created if it is missing.
        metadata: anything that JSON can hold, stored as `metadata` in `metadata.json`. Default: none.
        metrics: known metrics of the model. Default: none.
        held_out: histories that a push checks the version on. Default: those of the warm-up requests.

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
    description = {
        "signatures": sorted(retriever.signatures),
        "n_items": retriever.n_items,
        "n_retired": len(retriever.retired_ids),
        "max_length": retriever.max_length,
        "exclude_history": retriever.exclude_history,
        "tensorflow": tf.__version__,
        "metadata": dict(metadata or {}),
    }
    described = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    hidden = target / f".partial-{uuid.uuid4().hex}"
    name = target.resolve().name
    with model_folder(target):
        try:
            _write(retriever, hidden, name, described)
            _check_in_fresh_process(retriever, hidden)
            _write_evidence(retriever, hidden, name, json.loads(described), metrics or ModelMetrics(), held_out)
            return rename_to_next_version(hidden, target)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise


def _check_weights(retriever: Retriever) -> None:
    broken = nonfinite_weight(retriever.model_variables)
    if broken is not None:
        raise InputError(
            f"The model's weight {broken} holds NaN or inf, so it cannot recommend. "
            "Train again with a lower learning rate."
        )


def _write(retriever: Retriever, folder: Path, model_name: str, description: str) -> None:
    folder.mkdir()
    _save(retriever, folder)
    requests = warmup_requests(retriever.signatures, retriever.vocabulary, retriever.max_length, model_name)
    write_warmup_requests(folder, requests)
    (folder / METADATA_FILE).write_text(description, encoding="utf-8")


def _save(retriever: Retriever, folder: Path) -> None:
    """Save the signatures and what they read, but not the retriever: all its functions would be traced again."""
    traced = {name: function.get_concrete_function() for name, function in retriever.signatures.items()}
    read = tf.Module()
    read.lookup = retriever.lookup
    read.weights = list({id(each): each for function in traced.values() for each in function.variables}.values())
    # A traced function has lost the defaults of its inputs, so functions with defaults must be traced again.
    signatures = {
        name: function if _has_defaults(function) else traced[name] for name, function in retriever.signatures.items()
    }
    tf.saved_model.save(read, str(folder), signatures=signatures)


def _has_defaults(function: Any) -> bool:
    parameters = inspect.signature(function.python_function).parameters.values()
    return any(parameter.default is not parameter.empty for parameter in parameters)


def _check_in_fresh_process(retriever: Retriever, folder: Path) -> None:
    requests = read_warmup_requests(folder)
    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(answers_of_fresh_process, folder, folder / WARMUP_FILE)
        live = [_live_answer(retriever, request) for request in requests]  # while the other process starts
        try:
            fresh = answered.result()
        except FreshProcessError as error:
            raise ExportCheckError(f"The SavedModel does not run in a new process:\n{error}") from error
    for request, expected, response in zip(requests, live, fresh, strict=True):
        for name, values in expected.items():
            if not _same(values, tf.make_ndarray(response.outputs[name])):
                raise ExportCheckError(
                    f"The SavedModel, loaded in a new process, gives other '{name}' for signature "
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
    largest = float(np.max(np.abs(expected), initial=0.0, where=expected > NO_SCORE))  # probabilities may be small
    return np.allclose(expected, received, rtol=TOLERANCE, atol=TOLERANCE * min(1.0, largest))


def _write_evidence(
    retriever: Retriever,
    folder: Path,
    model_name: str,
    description: Mapping[str, Any],
    metrics: ModelMetrics,
    held_out: HeldOutHistories | None,
) -> None:
    """Write the files that a push checks, and the manifest of all files last."""
    if held_out is None:
        examples = example_histories(retriever.vocabulary, retriever.max_length)
        held_out = HeldOutHistories("the example histories of the warm-up requests", examples)
    write_held_out_topk(folder, held_out, retriever.signatures["serving_default"])
    metrics.write(folder)
    (folder / MODEL_CARD_FILE).write_text(model_card(model_name, description, metrics), encoding="utf-8")
    write_manifest(folder)
