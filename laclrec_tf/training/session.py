"""What the strict training and the refit of one run share: model, batches, callbacks and checkpoints."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.callbacks.augmenter_watch import AugmenterWatch
from laclrec_tf.data.batches import count_batches, evaluation_dataset
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import Protocol, held_out, training_part
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.ranking import users_at_once
from laclrec_tf.models import LACLRec
from laclrec_tf.runtime.machine import package_versions
from laclrec_tf.runtime.processes import StopRequest
from laclrec_tf.runtime.terminal import readable_warnings, terminal
from laclrec_tf.training.checkpoints import CheckpointCallback, CheckpointTimer, TrainingCheckpoints, TrainingState
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.logs import TrainingLogs
from laclrec_tf.training.progress import EpochProgress
from laclrec_tf.training.setup import compile_model, initialise_items, new_model, training_batches
from laclrec_tf.training.workers import WorkerGroup

MONITOR = "val_ndcg@10"


@dataclass
class TrainingSession:
    """One process of a training.

    Args:
        prepared: the data.
        config: settings.
        out: the run folder, which the chief writes.
        workers: who trains.
        checkpoints: where the state is kept.
        timer: when a checkpoint is due.
        stop: whether SIGTERM has come while a model was fitted; elsewhere it interrupts at once.
        state: go on from here; None once that is done, or from the start.
        tensorboard: where TensorBoard's logs go.
        callbacks: see each epoch with its validation, on the chief.
        boards: TensorBoard also gets histograms, edited histories and item vectors.
        show_progress: a bar and a row for each epoch.
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

    def __post_init__(self) -> None:
        before = 0.0 if self.state is None else self.state.about["seconds"]
        self.started = time.perf_counter() - before
        self.histories = self.prepared.histories(self.workers.index, self.workers.count)[1]
        resumed = self.state is not None
        self.logs = TrainingLogs(self.out, self.tensorboard, self.prepared.vocabulary, resumed, self.boards)

    @property
    def seconds(self) -> float:
        """How long the training has taken, with what it goes on from."""
        return time.perf_counter() - self.started

    def fit(self, part: Protocol, epochs: int, record: dict[str, Any]) -> tuple[LACLRec, dict[str, Any]]:
        """Train a new model; a strict one is validated, stopped early, and goes back to its best epoch.

        Args:
            part: "strict" or "refit".
            epochs: how many at most.
            record: what is known of the run so far, for the checkpoints.

        Returns:
            The model, and of a strict training `best_epoch`, `epochs_run` and `validation`.
        """
        config, workers = self.config, self.workers
        keras.utils.set_random_seed(config.seed)
        training = [training_part(history, part) for history in self.histories]
        with workers.strategy.scope():
            model = new_model(config, self.prepared.vocabulary.n_items, self.prepared.max_length)
        if self.state is None:
            # Every worker must begin at the same table, which takes all histories.
            initialise_items(config, model, [training_part(history, part) for history in self.all_histories()])
        position = tf.Variable([0, 0], dtype=tf.int64, trainable=False)
        steps = workers.smallest(count_batches(training, self._targets_per_batch))
        make_batches = self._batches(model, training, position, steps)
        title = config.preset if part == "strict" else f"{config.preset} {part}"
        evaluated, n_evaluated = self._evaluated(model) if part == "strict" else (None, None)
        batches = workers.distribute(make_batches)

        def run(objective: str, title: str, epochs: int, callbacks: list[keras.callbacks.Callback]) -> Any:
            state, self.state = self.state, None
            if self.show_progress and workers.is_chief:
                callbacks = [*callbacks, EpochProgress(title)]
            about = {"part": part, "objective": objective, "record": record, **self.identity()}
            keep = CheckpointCallback(
                self.checkpoints,
                position,
                steps,
                lambda: {**about, "seconds": self.seconds},
                callbacks,
                timer=self.timer,
                stop=self.stop,
                workers=workers,
                state=state,
            )
            shown = readable_warnings(terminal(stderr=True), disable=not self.show_progress)
            with self.stop, warnings.catch_warnings(), shown:
                # Of the epoch that training goes on in, whose first batches are done.
                warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
                return model.fit(
                    batches,
                    validation_data=evaluated if objective == "full" else None,
                    validation_steps=n_evaluated,
                    epochs=epochs,
                    initial_epoch=0 if state is None else int(state.about["epoch"]),
                    steps_per_epoch=None if workers.is_alone else steps,
                    shuffle=False,
                    verbose=0,
                    callbacks=[*callbacks, keep],
                )

        augmenter_is_done = self.state is not None and self.state.about["objective"] == "full"
        if config.pretrain_epochs and model.has_augmenter and not augmenter_is_done:
            with workers.strategy.scope():
                compile_model(config, model, steps, objective="augmenter")
            logs = self.logs.pretraining(part, training, self._epochs_done, steps) if workers.is_chief else []
            run("augmenter", f"{title} augmenter", config.pretrain_epochs, logs)
        with workers.strategy.scope():
            averaged = compile_model(config, model, steps)
        # First in line: what follows sees the averaged weights.
        callbacks: list[keras.callbacks.Callback] = []
        if averaged:
            callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
        position.assign([0, 0])  # what is watched is the same batch, wherever training goes on
        watch = None
        if workers.is_chief and model.has_augmenter and model.n_random_views:
            watch = AugmenterWatch(next(iter(make_batches())))
            callbacks.append(watch)
        if part == "strict":
            callbacks.append(
                keras.callbacks.EarlyStopping(MONITOR, mode="max", patience=config.patience, restore_best_weights=True)
            )
        if workers.is_chief:
            if part == "strict":
                # The best weights so far are on disk, whatever happens to the process.
                best_file = self.out / "best.keras"
                callbacks.append(keras.callbacks.ModelCheckpoint(best_file, MONITOR, mode="max", save_best_only=True))
            trained = np.concatenate([training_part(history, part) for history in self.all_histories()])
            counts = np.bincount(trained, minlength=model.n_items + 1)[1:]
            callbacks += self.logs.training(part, model, training, counts, self._epochs_done, steps, watch)
            callbacks += self.callbacks
        log = run("full", title, epochs, callbacks)
        if part == "refit":
            return model, {}
        best = int(np.argmax(log.history[MONITOR]))
        if workers.is_chief:
            (self.out / "best.keras").unlink(missing_ok=True)
        metrics = {key[4:]: values[best] for key, values in log.history.items() if key.startswith("val_")}
        return model, {"best_epoch": best + 1, "epochs_run": len(log.epoch), "validation": metrics}

    def all_histories(self) -> list[np.ndarray]:
        """Return every worker's histories; they are read again unless this one is alone."""
        return self.histories if self.workers.is_alone else self.prepared.histories()[1]

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint and this training must have in common."""
        return {
            "settings": self.config.every_setting(),
            "data_hash": self.prepared.data_hash,
            "workers": self.workers.count,
            "versions": package_versions(),
        }

    @property
    def _epochs_done(self) -> int:
        return 0 if self.state is None else int(self.state.about["epoch"])

    @property
    def _targets_per_batch(self) -> int:
        return max(1, self.config.targets_per_batch // self.workers.count)

    def _batches(
        self, model: LACLRec, training: list[np.ndarray], position: tf.Variable, steps: int
    ) -> Callable[[], tf.data.Dataset]:
        workers = self.workers
        more = {} if workers.is_alone else {"steps": steps, "seed": self.config.seed + 1_000_003 * workers.index}
        return lambda: training_batches(
            self.config, model, training, position=position, targets_per_batch=self._targets_per_batch, **more
        )

    def _evaluated(self, model: LACLRec) -> tuple[Any, int | None]:
        pairs = [pair for history in self.histories if (pair := held_out(history, "validation")) is not None]
        at_once = users_at_once(model.n_items)
        n_batches = None
        if not self.workers.is_alone:
            n_batches = self.workers.largest(-(-len(pairs) // at_once))
            if self.workers.smallest(len(pairs)) < n_batches:
                raise InputError(f"{self.prepared.folder} has too few histories for {self.workers.count} workers.")
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
        histories, targets = zip(*pairs, strict=True)
        batches = evaluation_dataset(
            histories,
            np.array(targets),
            batch_size=at_once,
            n_batches=n_batches,
            corruption=corruption,
            seed=self.config.seed,
        )
        return self.workers.distribute(lambda: batches if n_batches is None else batches.repeat()), n_batches
