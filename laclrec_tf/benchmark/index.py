"""Measure how fast an index finds the best items of a catalogue, and its recall."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.machine import processor_name
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.release.export import IndexSettings, example_queries
from laclrec_tf.serving.retriever.exact_index import ExactIndex
from laclrec_tf.serving.retriever.partitioned_index import RECALL_AT
from laclrec_tf.serving.retriever.retriever import Retriever
from laclrec_tf.serving.retriever.selection import ItemIndex

N_ITEMS = 1_000_000
WIDTH = 64
N_QUERIES = 512
REPEATS = 30


def index_benchmark(
    run: str | Path | None = None,
    *,
    items: int = N_ITEMS,
    width: int = WIDTH,
    settings: IndexSettings | None = None,
    json_out: str | Path | None = None,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Time queries for the 20 best items in three ways: one matrix product, the exact index, the partitioned index.

    Args:
        run: Folder made by `laclrec-tf train`, whose item and user vectors are used. Default: None, random vectors.
            These do not cluster, so the partitioned index is not measured for them.
        items: Number of random vectors. Default: 1,000,000.
        width: Size of the random vectors. Default: 64.
        settings: Settings of the partitioned index. Default: `IndexSettings("partitioned")`.
        json_out: File to which the report is written as well. Default: None.
        show_progress: Whether to show a spinner on standard error. Default: True.

    Returns:
        `items`, `width`, `machine` and `ways`: for each way the median milliseconds of 30 calls with 1 and with 32
        queries, and for the partitioned index also `partitions`, `probes`, `int8` and `recall@20`.

    Raises:
        InputError: There is no finished run, a number is out of range, or `json_out` cannot be written.

    Example:
        >>> report = index_benchmark(items=1000, width=8, show_progress=False)
        >>> list(report["ways"])
        ['matmul and top_k', 'exact']
    """
    settings = settings or IndexSettings("partitioned")
    if run is not None and (items, width) != (N_ITEMS, WIDTH):
        raise InputError("--items and --width are for random vectors. Remove them, or remove the run.")
    if items < 1 or width < 1:
        raise InputError(f"Arguments `items` and `width` must be at least 1. Received: {items} and {width}.")
    report_file = None if json_out is None else ReportFile(json_out)
    with spinner("measuring", disable=not show_progress):
        table, queries, active = _vectors(run, items, width)
        variable = tf.Variable(table, trainable=False)
        exact = ExactIndex(lambda: variable, len(table) - 3)
        ways = {"matmul and top_k": _timed(_all_at_once(variable), queries), "exact": _timed(_search(exact), queries)}
        if run is not None:
            index = settings.build(exact, active, queries)
            ways["partitioned"] = _timed(_search(index), queries) | index.description(exact, queries)
    report = {"items": len(table) - 3, "width": table.shape[1], "machine": processor_name(), "ways": ways}
    if report_file is not None:
        report_file.write_json(report)
    return report


def _vectors(run: str | Path | None, items: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the item table `[N + 3, D]`, user vectors `[B, D]` and the ids of items that may be recommended."""
    if run is None:
        generator = np.random.default_rng(0)
        table = generator.normal(size=(items + 3, width)).astype(np.float32)
        return table, generator.normal(size=(N_QUERIES, width)).astype(np.float32), np.arange(1, items + 1)
    folder = RunFolder.open(run)
    retriever = Retriever(folder.vector_model, folder.vocabulary, folder.popularity, retired=folder.retired)
    table = np.array(retriever.exact_index.item_vectors())
    queries, _ = example_queries(folder, retriever)
    return table, retriever.embed_history(queries)["user_vectors"].numpy(), retriever.active_ids


def _search(index: ItemIndex) -> Callable[[tf.Tensor], Any]:
    return lambda vectors: index.search(vectors, tf.constant(RECALL_AT))


def _all_at_once(table: tf.Variable) -> Callable[[tf.Tensor], Any]:
    return lambda vectors: tf.math.top_k(tf.matmul(vectors, table[1:-2], transpose_b=True), RECALL_AT)


def _timed(search: Callable[[tf.Tensor], Any], queries: np.ndarray) -> dict[str, Any]:
    graph = tf.function(search, input_signature=[tf.TensorSpec([None, queries.shape[1]], tf.float32)], autograph=False)
    measured = {}
    for rows in (1, 32):
        batches = [tf.constant(np.take(queries, range(i, i + rows), axis=0, mode="wrap")) for i in range(REPEATS)]
        graph(batches[0])
        seconds = []
        for batch in batches:
            start = time.perf_counter()
            graph(batch)
            seconds.append(time.perf_counter() - start)
        measured[f"{rows} queries" if rows > 1 else "1 query"] = round(float(np.median(seconds)) * 1e3, 3)
    return {"milliseconds": measured}
