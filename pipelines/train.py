"""Train a preset on prepared data and leave a run folder."""

from __future__ import annotations

import csv
import dataclasses
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.data.input_pipeline import evaluation_dataset
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import held_out, training_part
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation import users_at_once
from laclrec_tf.models import LACLRec
from laclrec_tf.models.augmenter_watch import AugmenterWatch
from pipelines.checkpoint_callback import CheckpointCallback
from pipelines.checkpoint_settings import CheckpointSettings
from pipelines.config import TrainConfig
from pipelines.new_folder import new_folder
from pipelines.progress import EpochProgress
from pipelines.run_folder import FORMAT_VERSION, RunFolder, check_new_run, has_epochs, package_versions, write_record
from pipelines.stop_request import StopRequest
from pipelines.training_checkpoints import TrainingCheckpoints, TrainingState
from pipelines.training_setup import compile_model, initialise_items, new_model, training_batches

MONITOR = "val_ndcg@10"


def train(
    data: str | Path,
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    checkpoints: CheckpointSettings | None = None,
    tensorboard: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    show_progress: bool = True,
) -> RunFolder:
    """Train on prepared data, keep the weights of the best validation epoch, and write a run folder.

    With `config.refit` the epoch count is found so first (or taken from `config.refit_epochs`), then a new
    model is trained for that many epochs on everything before the test item.

    An error or an interruption before the first epoch is done leaves no folder; later it leaves what was done so far,
    with the best weights in `best.keras`, and no `run.json`. Every few minutes, and on SIGTERM, the whole state is kept
    in a checkpoint, from which `CheckpointSettings(resume=True)` goes on in the middle of an epoch: the run ends with
    the weights of one that was never disturbed. A finished run has none left.

    Args:
        data: a folder made by `laclrec-tf prepare`.
        out: the run folder to make.
        config: settings. Default: `TrainConfig()`, the preset "laclrec".
        checkpoints: how often the state is kept, and whether training goes on from it. Default:
            `CheckpointSettings()`.
        tensorboard: where TensorBoard's logs go. Default: `tensorboard/` in `out`.
        callbacks: see each epoch with its validation. Default: none.
        show_progress: a bar and a line for each epoch on standard error. Default: True.

    Returns:
        The finished run; with `resume` that of a training that had ended already.

    Raises:
        InputError: the data cannot be read, nothing in it can be trained on, the settings do not fit it or the
            checkpoint, or `out` exists already or cannot be written.
        KeyboardInterrupt: SIGTERM has come.
    """
    config = config or TrainConfig()
    checkpoints = checkpoints or CheckpointSettings()
    out = Path(out)
    prepared = PreparedData.open(data)
    kept = TrainingCheckpoints(checkpoints.folder_for(out), checkpoints.kept)
    state = None
    if checkpoints.resume:
        if (out / "run.json").exists():
            return RunFolder.open(out)
        state = kept.newest()
        if state is not None:
            _check_same_training(state, config, prepared, kept.folder)
    elif kept:
        raise InputError(f"{kept.folder} holds checkpoints of a training. Go on with --resume, or delete them first.")
    else:
        check_new_run(out)
    _, histories = prepared.histories()
    validation = [pair for history in histories if (pair := held_out(history, "validation")) is not None]
    if not validation:
        raise InputError(
            f"{prepared.folder} has no history of three or more events, so none to validate on. Prepare more events."
        )
    with new_folder(out, lambda folder: has_epochs(folder) or bool(kept)), StopRequest() as stop:
        session = _Session(
            prepared,
            config,
            out,
            out / "tensorboard" if tensorboard is None else Path(tensorboard),
            tuple(callbacks),
            show_progress,
            kept,
            checkpoints.minutes,
            stop,
            state,
        )
        _write_run(session, histories, validation)
    kept.remove()
    return RunFolder.open(out)


def _check_same_training(state: TrainingState, config: TrainConfig, prepared: PreparedData, folder: Path) -> None:
    settings = _as_json(config.as_dict())
    differing = sorted(name for name in settings if settings[name] != state.about["settings"].get(name))
    if state.about["data_hash"] != prepared.data_hash:
        differing.append("the prepared data")
    if differing:
        raise InputError(
            f"The checkpoints in {folder} are of another training: {', '.join(differing)} differ. Resume with the "
            "settings and data it began with, or delete them to train anew."
        )


def _write_run(session: _Session, histories: list[np.ndarray], validation: list[tuple[np.ndarray, int]]) -> None:
    config, prepared, out, state = session.config, session.prepared, session.out, session.state
    started = time.perf_counter() - (state.about["seconds"] if state else 0.0)
    session.started = started
    record: dict[str, Any] = dict(state.about["record"]) if state else {"trained_on": "strict"}
    strict_is_done = state is not None and state.about["part"] == "refit"
    if (config.refit_epochs is None or not config.refit) and not strict_is_done:
        training = [training_part(history, "strict") for history in histories]
        model, best = session.fit(training, validation, config.epochs, "strict", record)
        record |= best
    if config.refit:
        record |= {"trained_on": "refit", "refit_epochs": config.refit_epochs or record["best_epoch"]}
        training = [training_part(history, "refit") for history in histories]
        model, _ = session.fit(training, None, record["refit_epochs"], "refit", record)

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


@dataclasses.dataclass
class _Session:
    """What the strict training and the refit of one run share."""

    prepared: PreparedData
    config: TrainConfig
    out: Path
    tensorboard: Path
    callbacks: tuple[keras.callbacks.Callback, ...]
    show_progress: bool
    checkpoints: TrainingCheckpoints
    minutes: float
    stop: StopRequest
    state: TrainingState | None
    started: float = 0.0

    def fit(
        self,
        training: list[np.ndarray],
        validation: list[tuple[np.ndarray, int]] | None,
        epochs: int,
        part: str,
        record: dict[str, Any],
    ) -> tuple[LACLRec, dict[str, Any]]:
        """Train a new model; with validation histories stop early and go back to the best epoch."""
        config = self.config
        keras.utils.set_random_seed(config.seed)
        model = new_model(config, self.prepared.vocabulary.n_items, self.prepared.max_length)
        if self.state is None:
            initialise_items(config, model, training)
        position = tf.Variable([0, 0], dtype=tf.int64, trainable=False)
        batches = training_batches(config, model, training, position)
        steps = int(batches.cardinality())
        title = config.preset if part == "strict" else f"{config.preset} {part}"
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

        def run(objective: str, title: str, epochs: int, callbacks: list[keras.callbacks.Callback]) -> Any:
            state, self.state = self.state, None
            first = 0 if state is None else int(state.about["epoch"])
            about = {
                "part": part,
                "objective": objective,
                "record": record,
                "settings": _as_json(config.as_dict()),
                "data_hash": self.prepared.data_hash,
                "seconds": time.perf_counter() - self.started,
            }
            callbacks = [*callbacks, *([EpochProgress(title)] if self.show_progress else [])]
            callbacks.append(
                CheckpointCallback(
                    self.checkpoints,
                    position,
                    steps,
                    about,
                    callbacks,
                    minutes=self.minutes,
                    stop=self.stop,
                    state=state,
                )
            )
            with warnings.catch_warnings():
                # Of the epoch that training goes on in, whose first batches are done.
                warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
                return model.fit(
                    batches,
                    validation_data=evaluated if objective == "full" else None,
                    epochs=epochs,
                    initial_epoch=first,
                    shuffle=False,
                    verbose=0,
                    callbacks=callbacks,
                )

        augmenter_is_done = self.state is not None and self.state.about["objective"] == "full"
        if config.pretrain_epochs and model.has_augmenter and not augmenter_is_done:
            compile_model(config, model, steps, objective="augmenter")
            run("augmenter", f"{title} augmenter", config.pretrain_epochs, [])
        averaged = compile_model(config, model, steps)
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
        log_file = self.out / f"epochs-{part}.csv"
        if self.state is not None:
            _keep_epochs(log_file, int(self.state.about["epoch"]))
        callbacks += [
            keras.callbacks.CSVLogger(log_file, append=self.state is not None),
            keras.callbacks.TensorBoard(self.tensorboard / part, write_graph=False, profile_batch=0),
            *self.callbacks,
        ]
        log = run("full", title, epochs, callbacks)
        if validation is None:
            return model, {}
        best = int(np.argmax(log.history[MONITOR]))
        (self.out / "best.keras").unlink(missing_ok=True)
        metrics = {key[4:]: values[best] for key, values in log.history.items() if key.startswith("val_")}
        return model, {"best_epoch": best + 1, "epochs_run": len(log.epoch), "validation": metrics}


def _keep_epochs(file: Path, epochs: int) -> None:
    """Drop the rows of epochs that are trained once more."""
    if not file.exists():  # a mounted bucket gets a file when it is closed, and the process may have been killed
        return
    with file.open(newline="", encoding="utf-8") as rows:
        header, *lines = list(csv.reader(rows)) or [[]]
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as rows:
        csv.writer(rows).writerows([header, *(line for line in lines if int(line[0]) < epochs)] if header else [])
    partial.rename(file)


def _as_json(settings: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings))
