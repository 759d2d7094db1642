"""From a folder to a model that answers in Python: a finished run, or an exported one."""

from __future__ import annotations

from pathlib import Path

from laclrec_tf.errors import InputError
from laclrec_tf.recommender import Recommender
from laclrec_tf.run_folder import RECORD_FILE, RunFolder, has_epochs
from laclrec_tf.serving.live_model import LiveModel
from laclrec_tf.serving.local_model import LocalModel
from laclrec_tf.serving.model_versions import SAVED_MODEL_FILE, version_folder, version_numbers
from laclrec_tf.serving.retriever import Retriever
from laclrec_tf.serving.version_description import VersionDescription


def load(path: str | Path) -> Recommender:
    """Load a trained model.

    A run's answers are those of the version that `laclrec-tf export` makes of it with an exact index.

    Args:
        path: a folder made by `laclrec-tf train` or `grow`; or `saved_models/NAME`, of which the newest version is
            taken, or `saved_models/NAME/VERSION`.

    Returns:
        A `Recommender`.

    Raises:
        InputError: the folder holds neither a finished run nor an exported model, or a damaged one.

    Example:
        >>> import laclrec_tf  # doctest: +SKIP
        >>> laclrec_tf.load("run")  # doctest: +SKIP
        Recommender(run 'run', laclrec: 250 items, reads the last 50 of a history, with an augmenter)
        >>> laclrec_tf.load("saved_models/shop").recommend(["tent", "stove"], k=3)[0].item_ids  # doctest: +SKIP
        ('rope', 'lamp', 'mug')
    """
    folder = Path(path)
    if (folder / RECORD_FILE).is_file() or (folder.is_dir() and has_epochs(folder)):
        return _of_run(RunFolder.open(folder))
    if (folder / SAVED_MODEL_FILE).is_file() or version_numbers(folder):
        return _of_export(version_folder(folder))
    problem = "holds neither a finished run nor an exported model" if folder.is_dir() else "is no folder"
    raise InputError(
        f"{folder} {problem}. Give what `laclrec-tf train --out` made, or saved_models/NAME that `laclrec-tf export` "
        "wrote."
    )


def _of_run(run: RunFolder) -> Recommender:
    model = LiveModel(Retriever(run.model, run.vocabulary, run.popularity, retired=run.retired))
    return Recommender(
        model,
        run.vocabulary,
        max_length=run.model.max_length,
        has_augmenter=run.model.has_augmenter,
        source=f"run {str(run.folder)!r}, {run.record['settings']['preset']}",
    )


def _of_export(version: Path) -> Recommender:
    about = VersionDescription.read(version)
    model = LocalModel(version)
    return Recommender(
        model,
        about.vocabulary,
        max_length=about.max_length,
        has_augmenter="augment" in model.signature_names,
        source=f"SavedModel {str(version)!r}",
    )
