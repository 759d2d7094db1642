"""Export a run as a versioned SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from laclrec_tf.evaluation.run_metrics import held_out_histories, run_metrics
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.export import export_model
from laclrec_tf.serving.retriever.retriever import Retriever
from pipelines.index_settings import IndexSettings, partitioned_index


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
