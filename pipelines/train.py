"""Train a preset on prepared data and leave a run folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from laclrec_tf.data.input_pipeline import evaluation_dataset
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import held_out, training_part
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation import users_at_once
from laclrec_tf.models import LACLRec
from laclrec_tf.models.augmenter_watch import AugmenterWatch
from pipelines.config import TrainConfig
from pipelines.new_folder import new_folder
from pipelines.progress import EpochProgress
from pipelines.run_folder import FORMAT_VERSION, RunFolder, check_new_run, has_epochs, package_versions, write_record
from pipelines.training_setup import compile_model, initialise_items, new_model, training_batches

MONITOR = "val_ndcg@10"


def train(
    data: str | Path,
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    tensorboard: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    show_progress: bool = True,
) -> RunFolder:
    """Train on prepared data, keep the weights of the best validation epoch, and write a run folder.

    With `config.refit` the epoch count is found so first (or taken from `config.refit_epochs`), then a new
    model is trained for that many epochs on everything before the test item.

    An error or an interruption before the first epoch is done leaves no folder; later it leaves what was done so far,
    with the best weights in `best.keras`, and no `run.json`.

    Args:
        data: a folder made by `laclrec-tf prepare`.
        out: the run folder to make.
        config: settings. Default: `TrainConfig()`, the preset "laclrec".
        tensorboard: where TensorBoard's logs go. Default: `tensorboard/` in `out`.
        callbacks: see each epoch with its validation, after all others. Default: none.
        show_progress: a bar and a line for each epoch on standard error. Default: True.

    Returns:
        The finished run.

    Raises:
        InputError: the data cannot be read, nothing in it can be trained on, the settings do not fit it, or `out`
            exists already or cannot be written.
    """
    config = config or TrainConfig()
    out = Path(out)
    prepared = PreparedData.open(data)
    check_new_run(out)
    _, histories = prepared.histories()
    validation = [pair for history in histories if (pair := held_out(history, "validation")) is not None]
    if not validation:
        raise InputError(
            f"{prepared.folder} has no history of three or more events, so none to validate on. Prepare more events."
        )
    logs = out / "tensorboard" if tensorboard is None else Path(tensorboard)
    with new_folder(out, has_epochs):
        _write_run(_Session(prepared, config, out, logs, tuple(callbacks), show_progress), histories, validation)
    return RunFolder.open(out)


def _write_run(session: _Session, histories: list[np.ndarray], validation: list[tuple[np.ndarray, int]]) -> None:
    started = time.perf_counter()
    prepared, config, out = session.prepared, session.config, session.out
    keras.utils.set_random_seed(config.seed)
    record: dict[str, Any] = {"trained_on": "strict"}
    if config.refit_epochs is None or not config.refit:
        strict = [training_part(history, "strict") for history in histories]
        model, best = session.fit(strict, validation, epochs=config.epochs, title=config.preset)
        record |= best
        training = strict
    if config.refit:
        record |= {"trained_on": "refit", "refit_epochs": config.refit_epochs or record["best_epoch"]}
        training = [training_part(history, "refit") for history in histories]
        keras.utils.set_random_seed(config.seed)
        model, _ = session.fit(training, None, epochs=record["refit_epochs"], title=f"{config.preset} refit")

    model.save(out / "model.keras")
    prepared.vocabulary.save(out / "vocabulary.txt")
    np.save(out / "popularity.npy", np.bincount(np.concatenate(training), minlength=model.n_items + 1)[1:])
    record |= {
        "format_version": FORMAT_VERSION,
        "data_folder": str(prepared.folder.resolve()),
        "data_hash": prepared.data_hash,
        "data_counts": dict(prepared.counts),
        "max_length": prepared.max_length,
        "seconds": round(time.perf_counter() - started, 1),
        "settings": config.as_dict(),
        "versions": package_versions(),
    }
    write_record(out, record)


@dataclasses.dataclass(frozen=True)
class _Session:
    """What the strict training and the refit of one run share."""

    prepared: PreparedData
    config: TrainConfig
    out: Path
    tensorboard: Path
    callbacks: tuple[keras.callbacks.Callback, ...]
    show_progress: bool

    def fit(
        self,
        training: list[np.ndarray],
        validation: list[tuple[np.ndarray, int]] | None,
        epochs: int,
        title: str,
    ) -> tuple[LACLRec, dict[str, Any]]:
        """Train a new model; with validation histories stop early and go back to the best epoch."""
        config = self.config
        model = new_model(config, self.prepared.vocabulary.n_items, self.prepared.max_length)
        initialise_items(config, model, training)
        batches = training_batches(config, model, training)
        evaluated = None
        if validation is not None:
            corruption = None
            if model.has_augmenter:
                needs = model.batch_requirements
                corruption = {
                    "n_items": model.n_items,
                    "max_length": model.max_edited_length,
                    "max_insertions": model.max_insertions,
                    "p_keep": needs["p_keep"],
                    "p_delete": needs["p_delete"],
                }
            histories, targets = zip(*validation, strict=True)
            evaluated = evaluation_dataset(
                histories,
                np.array(targets),
                batch_size=users_at_once(model.n_items),
                corruption=corruption,
                seed=config.seed,
            )

        if config.pretrain_epochs and model.has_augmenter:
            compile_model(config, model, int(batches.cardinality()), objective="augmenter")
            model.fit(
                batches,
                epochs=config.pretrain_epochs,
                shuffle=False,
                verbose=0,
                callbacks=self._progress(f"{title} augmenter"),
            )
        averaged = compile_model(config, model, int(batches.cardinality()))
        name = "refit" if validation is None else "strict"
        # First in line: what follows sees the averaged weights.
        callbacks: list[keras.callbacks.Callback] = []
        if averaged:
            callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
        if model.has_augmenter and model.n_random_views:
            callbacks.append(AugmenterWatch(next(iter(batches))))
        if validation is not None:
            callbacks += [
                keras.callbacks.EarlyStopping(MONITOR, mode="max", patience=config.patience, restore_best_weights=True),
                # The best weights so far are on disk, whatever happens to the process.
                keras.callbacks.ModelCheckpoint(self.out / "best.keras", MONITOR, mode="max", save_best_only=True),
            ]
        callbacks += [
            keras.callbacks.CSVLogger(self.out / f"epochs-{name}.csv"),
            keras.callbacks.TensorBoard(self.tensorboard / name, write_graph=False, profile_batch=0),
            *self._progress(title),
            *self.callbacks,
        ]
        log = model.fit(
            batches, validation_data=evaluated, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks
        )
        if validation is None:
            return model, {}
        best = int(np.argmax(log.history[MONITOR]))
        (self.out / "best.keras").unlink(missing_ok=True)
        metrics = {key[4:]: values[best] for key, values in log.history.items() if key.startswith("val_")}
        return model, {"best_epoch": best + 1, "epochs_run": len(log.epoch), "validation": metrics}

    def _progress(self, title: str) -> list[keras.callbacks.Callback]:
        return [EpochProgress(title)] if self.show_progress else []
