"""A training run on disk: the trained model and the files needed to evaluate and export it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import CountModel, LACLRec
from laclrec_tf.ops.finite import nonfinite_weight
from laclrec_tf.runtime.output_files import atomic_write

FORMAT_VERSION = 5
RECORD_FILE = "run.json"
RETIRED_FILE = "retired.txt"
_RECORD_TYPES = {"trained_on": str, "data_folder": str, "data_hash": str, "max_length": int, "settings": dict}
_REMEDY = "Train again with `laclrec-tf train`."


def has_epochs(folder: Path) -> bool:
    """Return whether a training has completed an epoch in this folder."""
    return any(file.stat().st_size for file in folder.glob("epochs-*.csv"))


@dataclass(frozen=True)
class RunFolder:
    """A finished run: `run.json`, `model.keras`, `vocabulary.txt`, `popularity.npy`, `epochs-*.csv`, `tensorboard/`.

    A run of a counted preset and one made by `laclrec-tf grow` have no epochs and no `tensorboard/`. The latter has
    `retired.txt` if items are no longer recommended. `run.json` is written last: a folder without it contains no
    finished run. `laclrec-tf evaluate` adds
    `evaluation-SPLIT-PROTOCOL.json`, with the kind of edits behind it if that is not "none".

    Args:
        folder: the run folder.
        record: content of `run.json`.

    Example:
        >>> run = RunFolder.open("run")  # doctest: +SKIP
        >>> run  # doctest: +SKIP
        RunFolder('run': laclrec, 250 items, trained strict, seed 0)
        >>> run.model.recommend(run.data.histories()[1][0][None], k=5)  # doctest: +SKIP
    """

    folder: Path
    record: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> RunFolder:
        """Open a finished run.

        Raises:
            InputError: there is no finished run, or it is damaged or has another format version.
        """
        folder = Path(folder)
        file = folder / RECORD_FILE
        if not file.is_file():
            state, remedy = "no run", "Create one with `laclrec-tf train`."
            if has_epochs(folder):
                state, remedy = "an unfinished run", "Resume it with `laclrec-tf train` and its settings, and --resume."
            raise InputError(f"{folder} contains {state}: {file} is missing. {remedy}")
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            record = None
        if not isinstance(record, dict):
            raise InputError(f"{file} is damaged. {_REMEDY}")
        if record.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{folder} has run format {record.get('format_version')}, "
                f"this version reads {FORMAT_VERSION}. {_REMEDY}"
            )
        missing = [name for name, kind in _RECORD_TYPES.items() if not isinstance(record.get(name), kind)]
        missing += [name for name in ("preset", "seed") if not missing and name not in record["settings"]]
        if missing:
            raise InputError(f"{file} is damaged: it lacks {missing[0]!r}. {_REMEDY}")
        return cls(folder, record)

    @property
    def is_counted(self) -> bool:
        """Whether the model is counted, a `CountModel`: it has no user vectors, no item vectors and no augmenter."""
        return bool(self.record.get("counted"))

    @property
    def vector_model(self) -> LACLRec:
        """The trained model, for what needs its vectors.

        Raises:
            InputError: the model is counted, or see `model`.
        """
        self.check_vectors()
        return cast(LACLRec, self.model)

    def check_vectors(self) -> None:
        """Raise `InputError` if the model is counted."""
        if self.is_counted:
            raise InputError(
                f"{self.folder} has a counted model (preset {self.record['settings']['preset']}), which has no user "
                "vectors, no item vectors and no augmenter. Give a run of a trained preset, e.g. sasrec."
            )

    @cached_property
    def model(self) -> LACLRec | CountModel:
        """The model, without its optimizer, which has two numbers for each weight.

        Raises:
            InputError: the file is missing or damaged, or a weight is not finite.
        """
        return self._load(compile=False)

    def compiled_model(self) -> LACLRec | CountModel:
        """Return the model with its optimizer, to train it on.

        Raises:
            InputError: see `model`.
        """
        return self._load(compile=True)

    def _load(self, compile: bool) -> LACLRec | CountModel:
        file = self.folder / "model.keras"
        try:
            model = keras.saving.load_model(file, compile=compile)
        except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{file} is missing or damaged. {_REMEDY}") from error
        broken = nonfinite_weight(model.weights)
        if broken is not None:
            raise InputError(
                f"The model of {self.folder} is broken: its weight {broken} holds NaN or inf. "
                "Train again with a lower learning rate."
            )
        return model

    @property
    def exclude_history(self) -> bool:
        """Whether the items of a history are not to be recommended, as the data or the settings said."""
        return bool(self.record["settings"].get("model", {}).get("exclude_history", True))

    def edits_to_use(self, edits: str = "chosen") -> str:
        """Return the kind of edits to recommend over: "none", "uniform" or "learned".

        Args:
            edits: one of these, or "chosen" for what calibration chose, "none" without a calibration. Default:
                "chosen".

        Raises:
            InputError: `edits` is unknown, or "uniform" or "learned" for a model that was not calibrated.
        """
        if edits == "chosen":
            return self.record["edits"]["chosen"] if "edits" in self.record else "none"
        if edits not in LACLRec.edit_kinds:
            kinds = ", ".join(("chosen", *LACLRec.edit_kinds))
            raise InputError(f"Argument `edits` must be one of {kinds}. Received: {edits!r}.")
        if edits != "none" and self.is_counted:
            raise InputError(
                f"{self.folder} has a counted model (preset {self.record['settings']['preset']}), which has no user "
                "vectors of edited histories. Leave the edits at none."
            )
        if edits != "none" and "edits" not in self.record:
            raise InputError(
                f"{self.folder} was not calibrated for the edits of histories: that takes a strict training on 500 "
                "users or more, with five events or more each, and calibration_share above 0. Leave the edits at none."
            )
        return edits

    @cached_property
    def vocabulary(self) -> ItemVocabulary:
        """The items that the model knows."""
        return ItemVocabulary.load(self.folder / "vocabulary.txt")

    @cached_property
    def retired(self) -> tuple[str, ...]:
        """The items that are read in histories but never recommended. Usually there are none.

        Raises:
            InputError: the file is damaged, or names an item that the run does not know.
        """
        file = self.folder / RETIRED_FILE
        if not file.exists():
            return ()
        retired = ItemVocabulary.load(file).items
        if not all(item in self.vocabulary for item in retired) or len(retired) == self.vocabulary.n_items:
            raise InputError(f"{file} does not match vocabulary.txt. Run `laclrec-tf grow` on the old run again.")
        return retired

    @cached_property
    def popularity(self) -> np.ndarray:
        """`[N]` int64: number of events of each item in the training split, by id from 1.

        Raises:
            InputError: the file is missing or damaged.
        """
        file = self.folder / "popularity.npy"
        try:
            popularity = np.load(file)
        except (OSError, ValueError, EOFError):
            popularity = np.zeros(0)
        if popularity.shape != (self.vocabulary.n_items,):
            raise InputError(f"{file} is missing or damaged. {_REMEDY}")
        return popularity

    @cached_property
    def data(self) -> PreparedData:
        """The prepared data that the run was trained on.

        Raises:
            InputError: the data folder is missing, or contains other data.
        """
        data = PreparedData.open(self.record["data_folder"])
        if data.data_hash != self.record["data_hash"]:
            raise InputError(
                f"{data.folder} contains other data than {self.folder} was trained on (hash {data.data_hash[:12]}, "
                f"trained on {self.record['data_hash'][:12]}). Prepare the old events again, or train again."
            )
        return data

    def __repr__(self) -> str:
        settings = self.record["settings"]
        return (
            f"RunFolder({str(self.folder)!r}: {settings['preset']}, {self.vocabulary.n_items:,} items, "
            f"trained {self.record['trained_on']}, seed {settings['seed']})"
        )


def check_new_run(out: Path) -> None:
    """Check that a new run overwrites nothing.

    Args:
        out: the run folder to create.

    Raises:
        InputError: `out` is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        unfinished = has_epochs(out) and not (out / RECORD_FILE).exists()
        state = "contains an unfinished run" if unfinished else "exists already and is not overwritten"
        remedy = "Resume it with --resume, or give" if unfinished else "Give"
        raise InputError(f"{out} {state}. {remedy} another --out, or delete it first.")


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write `run.json`. Write it last: a run folder that has it is complete.

    Args:
        folder: the run folder.
        record: content of the file, which JSON can represent.
    """
    with atomic_write(folder / RECORD_FILE) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
