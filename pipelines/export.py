"""Export a run as a versioned SavedModel."""

from __future__ import annotations

from pathlib import Path

from laclrec_tf.serving.export import export_model
from laclrec_tf.serving.retriever import Retriever
from pipelines.progress import spinner
from pipelines.run_evaluations import held_out_histories, run_metrics
from pipelines.run_folder import RunFolder


def export(run: str | Path, to: str | Path, *, show_progress: bool = True) -> Path:
    """Write `to/<next integer version>/`, checked in a fresh process before it is renamed into place.

    Args:
        run: a folder made by `laclrec-tf train`.
        to: the model's folder, usually `saved_models/NAME`.
        show_progress: Default: True.

    Returns:
        The version's folder.

    Raises:
        InputError: there is no finished run, or `to` is a file or cannot be written.
    """
    folder = RunFolder.open(run)
    with spinner(f"exporting {run}", disable=not show_progress):
        retriever = Retriever(folder.model, folder.vocabulary, folder.popularity)
        return export_model(
            retriever,
            Path(to),
            metadata=folder.record,
            metrics=run_metrics(folder),
            held_out=held_out_histories(folder),
        )
