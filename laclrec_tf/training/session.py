"""Build, pretrain and train the models of a run: that of the strict training and that of the refit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.callbacks.augmenter_watch import AugmenterWatch
from laclrec_tf.callbacks.divergence import StopOnDivergence, TrainingDivergedError
from laclrec_tf.data.batches import evaluation_dataset
from laclrec_tf.data.buckets import count_batches
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import MIN_SET_ASIDE, Protocol, SplitHistories, set_aside_share
from laclrec_tf.errors import InputError, LACLRecWarning
from laclrec_tf.evaluation.augmenter_repairs import corruption_arguments
from laclrec_tf.evaluation.ranking import rank_targets, users_at_once
from laclrec_tf.metrics.ranking import ranking_metrics, served_protocol
from laclrec_tf.models import LACLRec
from laclrec_tf.runtime.machine import package_versions
from laclrec_tf.runtime.processes import StopRequest
from laclrec_tf.runtime.terminal import readable_warnings, spinner, terminal
from laclrec_tf.training.calibration import calibrate, set_calibrations
from laclrec_tf.training.checkpoints import CheckpointCallback, CheckpointTimer, TrainingCheckpoints, TrainingState
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.logs import TrainingLogs
from laclrec_tf.training.progress import EpochProgress
from laclrec_tf.training.setup import compile_model, initialise_items, new_model, training_batches
from laclrec_tf.training.workers import WorkerGroup

MONITOR = "val_ndcg@10"
# Calibration reads that many items at most, users x catalogue, but those of this many users in any case.
MAX_READ_ITEMS, MIN_CALIBRATED = 200_000_000, 300
# Ranking the validation items over the edits is limited in the same way.
MAX_RANKED_ITEMS = 2_000_000_000


@dataclass
class TrainingSession:
    """One process of a training.

    Args:
        prepared: prepared data.
        config: settings.
        out: run folder, which only the chief writes to.
        workers: processes that train together.
        checkpoints: folder of the checkpoints.
        timer: says when a checkpoint is due.
        stop: notes SIGTERM and SIGINT while a model is fitted; at any other time they interrupt at once.
        state: checkpoint to resume from, None to start from scratch. It is None again once a model is fitted from it,
            so that its arrays can be freed.
        tensorboard: folder of TensorBoard's logs.
        callbacks: more callbacks of the chief. They see each epoch's logs with its validation.
        boards: whether TensorBoard also gets histograms, edited histories and item vectors.
        show_progress: whether to show a progress bar and print a row for each epoch.
        keep_last: see `CheckpointSettings`.
        finish: see `CheckpointSettings`.
        calibration: what `calibrate` found for a strict training with these settings, for a refit without one.
        note: a line to print above the first epoch's row.
    """

    prepared: PreparedData
    config: TrainConfig
    out: Path
    workers: WorkerGroup
    checkpoints: TrainingCheckpoints
    timer: CheckpointTimer
    stop: StopRequest
    state: TrainingState | None
    tensorboard: Path
    callbacks: tuple[keras.callbacks.Callback, ...]
    boards: bool
    show_progress: bool
    keep_last: bool = True
    finish: bool = False
    calibration: Mapping[str, Any] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        before = 0.0 if self.state is None else self.state.about["seconds"]
        self.started = time.perf_counter() - before
        self.has_last = self._is_noted = False
        self.split = self.prepared.split(self.workers.index, self.workers.count)
        resumed = self.state is not None
        self.logs = TrainingLogs(self.out, self.tensorboard, self.prepared.vocabulary, resumed, self.boards)

    def run(self) -> tuple[LACLRec, dict[str, Any]]:
        """Do the parts of the training: strict unless `refit_epochs` is set, then the refit if the settings have one.

        Returns:
            The model of the last part, and the record: `trained_on`, of a strict training `best_epoch`, `epochs_run`,
            `validation` and, if it stopped because of a value that is not finite, `diverged`, of a refit
            `refit_epochs`; and if users are set aside, `edits`, `deletions` and `insertions`, the results of
            `calibrate`.
        """
        config = self.config
        resumed = {} if self.state is None else self.state.about
        record: dict[str, Any] = dict(resumed.get("record", {"trained_on": "strict", **(self.calibration or {})}))
        strict_is_done = resumed.get("part") == "refit"
        if (config.refit_epochs is None or not config.refit) and not strict_is_done:
            model, best = self.fit("strict", self._epochs_done if self.finish else config.epochs, record)
            record |= best
            if self.workers.is_chief:
                self._calibrate(model, "strict", record)
                self._best_file.unlink(missing_ok=True)  # the best weights are on disk until the run is written
        if config.refit:
            record |= {"trained_on": "refit", "refit_epochs": config.refit_epochs or record["best_epoch"]}
            model, _ = self.fit("refit", record["refit_epochs"], record)
            if self.workers.is_chief:
                self._calibrate(model, "refit", record)
        return model, record

    def fit(self, part: Protocol, epochs: int, record: dict[str, Any]) -> tuple[LACLRec, dict[str, Any]]:
        """Build a new model, pretrain its augmenter if the settings say so, and train the model.

        A strict training is validated, stopped early, and ends with the weights of its best epoch.

        Args:
            part: "strict" or "refit".
            epochs: max number of epochs.
            record: the run's record so far, which checkpoints keep.

        Returns:
            The model, and of a strict training `best_epoch`, `epochs_run`, `validation` and, if the loss or a weight
            stopped being finite after the best epoch, `diverged`.

        Raises:
            InputError: the loss or a weight is not finite, and no epoch before it can be kept.
        """
        built = self._build(part, record)
        try:
            self._pretrain(built)
            return self._train(built, epochs)
        except TrainingDivergedError as error:
            kept = "no epoch before it can be kept" if part == "strict" else "a refit keeps no epoch before its last"
            raise InputError(
                f"{error} Training stops, and {kept}. Lower `learning_rate`, {self.config.learning_rate}, and train "
                "again."
            ) from None

    @property
    def seconds(self) -> float:
        """Duration of the training so far, including that of the processes it was resumed from."""
        return time.perf_counter() - self.started

    def identity(self) -> dict[str, Any]:
        """Return what must be equal in this training and in a checkpoint it resumes from."""
        return {
            "settings": self.config.every_setting(),
            "data_hash": self.prepared.data_hash,
            "workers": self.workers.count,
            "versions": package_versions(),
        }

    def item_counts(self, part: Protocol) -> np.ndarray:
        """Return how often each item, by id from 1, occurs in the part of all histories to train on: `[N]` int64."""
        events = np.concatenate(self._whole_split().training(part))
        return np.bincount(events, minlength=self.prepared.vocabulary.n_items + 1)[1:]

    def _whole_split(self) -> SplitHistories:
        return self.split if self.workers.is_alone else self.prepared.split()

    def _training(self, part: Protocol, split: SplitHistories) -> list[np.ndarray]:
        """Return what is trained on of each history."""
        # A refit trains on all events, and takes over the calibration of the strict training before it.
        return split.training(part, self._set_aside_share if part == "strict" else 0.0)

    @property
    def _set_aside_share(self) -> float:
        counts = self.prepared.counts
        users = counts.get("validation_users", counts["users"])
        return set_aside_share(users, counts["events"], self.config.calibration_share)

    def _calibrate(self, model: LACLRec, part: Protocol, record: dict[str, Any]) -> None:
        """Calibrate the edits of histories on the users set aside, or as the strict training did."""
        split = self._whole_split()
        counts = np.bincount(np.concatenate(self._training(part, split)), minlength=model.n_items + 1)[1:]
        if part == "strict":
            aside = split.of(split.is_set_aside(self._set_aside_share)).pairs("validation")
            aside = aside[: max(MIN_CALIBRATED, MAX_READ_ITEMS // model.n_items)]
            if len(aside) >= MIN_SET_ASIDE // 2:  # by chance, fewer may be set aside
                # Of a history the model reads as much as in training, the event of the set-aside user included.
                n_read = self.prepared.max_length - 2 * (self.prepared.hold_out == "last")
                before, targets = [history[-n_read:] for history, _ in aside], [target for _, target in aside]
                with spinner("calibrating the edits of histories", disable=not self.show_progress):
                    noise, seed = self.config.corruption_noise, self.config.seed
                    record |= calibrate(model, before, np.array(targets), counts, corruption_noise=noise, seed=seed)
        if "edits" in record:
            set_calibrations(model, record, counts)
            if part == "strict" and model.chosen_edits != "none":
                # What an export serves is compared with the served version.
                n_ranked = max(MIN_CALIBRATED, MAX_RANKED_ITEMS // model.n_items)
                before, targets = zip(*split.pairs("validation")[:n_ranked], strict=True)
                protocol = served_protocol(model.exclude_history)
                ranks = rank_targets(model, before, np.array(targets), protocol=protocol, edits=model.chosen_edits)
                record["edits"] |= {"validation": ranking_metrics(ranks), "validated_users": len(ranks)}

    def _build(self, part: Protocol, record: dict[str, Any]) -> _Built:
        config, workers = self.config, self.workers
        keras.utils.set_random_seed(config.seed)
        training = self._training(part, self.split)
        with workers.strategy.scope():
            model = new_model(config, self.prepared.vocabulary.n_items, self.prepared.max_length)
        if self.state is None:
            # All workers must start with the same table, so it is computed from all histories.
            initialise_items(config, model, self._training(part, self._whole_split()))
        position = tf.Variable([0, 0], dtype=tf.int64, trainable=False)
        targets = max(1, config.targets_per_batch // workers.count)
        window = self.prepared.window
        steps = workers.smallest(count_batches(training, targets, model.max_length, window))
        more = {} if workers.is_alone else {"steps": steps, "seed": config.seed + 1_000_003 * workers.index}
        make_batches = partial(
            training_batches,
            config,
            model,
            training,
            window=window,
            position=position,
            targets_per_batch=targets,
            **more,
        )
        validation = self._validation(model) if part == "strict" else {}
        batches = workers.distribute(make_batches)
        recent = [history[-model.max_length :] for history in training]
        return _Built(part, record, model, recent, make_batches, batches, position, steps, validation)

    def _validation(self, model: LACLRec) -> dict[str, Any]:
        """Return the arguments of `Model.fit` for the validation."""
        pairs = self.split.pairs("validation")
        batch_size = users_at_once(model.n_items)
        n_batches = None
        if not self.workers.is_alone:
            n_batches = self.workers.largest(-(-len(pairs) // batch_size))
            if self.workers.smallest(len(pairs)) < n_batches:
                raise InputError(f"{self.prepared.folder} has too few histories for {self.workers.count} workers.")
        histories, targets = zip(*pairs, strict=True)
        popularity = self.item_counts("strict") if self.config.corruption_noise == "popular" else None
        batches = evaluation_dataset(
            histories,
            np.array(targets),
            n_items=model.n_items,
            batch_size=batch_size,
            n_batches=n_batches,
            corruption=corruption_arguments(model, popularity) if model.has_augmenter else None,
            corrupted_length=model.max_length,
            seed=self.config.seed,
        )
        distributed = self.workers.distribute(lambda: batches if n_batches is None else batches.repeat())
        return {"validation_data": distributed, "validation_steps": n_batches}

    def _pretrain(self, built: _Built) -> None:
        """Train the augmenter alone, if the settings say so and the checkpoint was not written later."""
        is_done = self.state is not None and self.state.about["objective"] == "full"
        if is_done or not self.config.pretrain_epochs or not built.model.has_augmenter:
            return
        with self.workers.strategy.scope():
            compile_model(self.config, built.model, built.steps, objective="augmenter")
        callbacks: list[keras.callbacks.Callback] = []
        if self.workers.is_chief:
            callbacks = self.logs.pretraining(built.part, built.recent, self._epochs_done, built.steps)
        self._fit(built, "augmenter", self.config.pretrain_epochs, callbacks)

    def _train(self, built: _Built, epochs: int) -> tuple[LACLRec, dict[str, Any]]:
        with self.workers.strategy.scope():
            is_averaged = compile_model(self.config, built.model, built.steps)
        callbacks = self._training_callbacks(built, is_averaged)
        best_epoch = next((each for each in callbacks if isinstance(each, keras.callbacks.EarlyStopping)), None)
        diverged = {}
        try:
            log = self._fit(built, "full", epochs, callbacks)
        except TrainingDivergedError as error:
            if best_epoch is None or best_epoch.best_weights is None:
                raise
            for callback in callbacks:  # they close their files, and early stopping restores the best weights
                callback.on_train_end()
            log = built.model.history
            diverged = {"diverged": str(error)}
            with readable_warnings(terminal(stderr=True), disable=not self.show_progress):
                warnings.warn(
                    f"{error} Training stops, and the run keeps the weights of epoch {best_epoch.best_epoch + 1}, the "
                    f"best one. To train longer lower `learning_rate`, {self.config.learning_rate}.",
                    DivergenceWarning,
                    stacklevel=2,
                )
        if built.part == "refit":
            return built.model, {}
        best = int(np.argmax(log.history[MONITOR]))
        metrics = {key[4:]: values[best] for key, values in log.history.items() if key.startswith("val_")}
        found = {"best_epoch": best + 1, "epochs_run": len(log.history[MONITOR]), "validation": metrics}
        return built.model, found | diverged

    def _training_callbacks(self, built: _Built, is_averaged: bool) -> list[keras.callbacks.Callback]:
        callbacks: list[keras.callbacks.Callback] = []
        if is_averaged:  # first, so that the others see the averaged weights
            callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
        watch = None
        if self.workers.is_chief and built.model.has_augmenter and built.model.n_random_views:
            built.position.assign([0, 0])  # so that a resumed training watches the same batch
            watch = AugmenterWatch(next(iter(built.make_batches())))
            callbacks.append(watch)
        if built.part == "strict":
            callbacks.append(
                keras.callbacks.EarlyStopping(
                    MONITOR, mode="max", patience=self.config.patience, restore_best_weights=True
                )
            )
        if self.workers.is_chief:
            if built.part == "strict":  # the best weights so far survive an interruption
                callbacks.append(
                    keras.callbacks.ModelCheckpoint(self._best_file, MONITOR, mode="max", save_best_only=True)
                )
            counts = self.item_counts(built.part)
            callbacks += self.logs.training(
                built.part, built.model, built.recent, counts, self._epochs_done, built.steps, watch
            )
            callbacks += self.callbacks
        return callbacks

    def _fit(
        self, built: _Built, objective: str, epochs: int, callbacks: list[keras.callbacks.Callback]
    ) -> keras.callbacks.History:
        """Fit the compiled model, with progress and checkpoints, from the session's state if there is one."""
        workers = self.workers
        if self.show_progress and workers.is_chief:
            part = "" if built.part == "strict" else f" {built.part}"
            title = self.config.preset + part + " augmenter" * (objective != "full")
            callbacks = [*callbacks, EpochProgress(title, note="" if self._is_noted else self.note)]
            self._is_noted = True
        about = {"part": built.part, "objective": objective, "record": built.record, **self.identity()}
        checkpoints = CheckpointCallback(
            self.checkpoints,
            built.position,
            built.steps,
            lambda: {**about, "seconds": self.seconds},
            callbacks,
            timer=self.timer,
            stop=self.stop,
            workers=workers,
            state=self.state,
            keep_last=self.keep_last and built.part == "strict" and objective == "full" and not self.config.refit,
        )
        initial_epoch, self.state = self._epochs_done, None
        shown = readable_warnings(terminal(stderr=True), disable=not self.show_progress)
        with self.stop, warnings.catch_warnings(), shown:
            # The first epoch of a resumed training is short.
            warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
            log = built.model.fit(
                built.batches,
                **(built.validation if objective == "full" else {}),
                epochs=epochs,
                initial_epoch=initial_epoch,
                steps_per_epoch=None if workers.is_alone else built.steps,
                shuffle=False,
                verbose=0,
                # The first one stops before the others see a broken epoch.
                callbacks=[StopOnDivergence(), checkpoints.reader_of_last, *callbacks, checkpoints],
            )
        self.has_last = checkpoints.has_last
        return log

    @property
    def _epochs_done(self) -> int:
        return 0 if self.state is None else int(self.state.about["epoch"])

    @property
    def _best_file(self) -> Path:
        return self.out / "best.keras"


class DivergenceWarning(LACLRecWarning):
    """Training stopped because the loss or a weight is not finite; the run keeps its best epoch."""


@dataclass(frozen=True)
class _Built:
    """What a part of a training fits.

    Args:
        part: "strict" or "refit".
        record: the run's record so far.
        model: the model.
        recent: per user `[n]` int32 ids that this worker trains on, the last ones that the model reads.
        make_batches: makes this worker's batches.
        batches: the batches of all workers.
        position: `[2]` int64, the epoch and the step at which the batches begin.
        steps: batches an epoch.
        validation: arguments of `Model.fit` for the validation; empty for a refit.
    """

    part: Protocol
    record: dict[str, Any]
    model: LACLRec
    recent: list[np.ndarray]
    make_batches: Callable[[], tf.data.Dataset]
    batches: Any
    position: tf.Variable
    steps: int
    validation: dict[str, Any]
