"""A Keras model trained on several weighted loss terms and evaluated by the rank of held-out items."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from laclrec_tf.lazy_adam import LazyAdam
from laclrec_tf.metrics.ranking import mrr_at_k, ndcg_at_k, recall_at_k, target_ranks
from laclrec_tf.models.training_statistics import REPAIR_STATISTICS, VIEW_STATISTICS, Statistics
from laclrec_tf.ops.replicas import has_several_workers, n_replicas, step_of_all_workers, sum_over_replicas

OBJECTIVES = ("full", "augmenter")
LOSSES = ("loss", "next_item_loss", "contrast_loss", "triplet_loss", "augmenter_loss", "view_loss")
AUGMENTER_LOSSES = ("operation_loss", "insertion_loss")
RANKING_METRICS = {
    f"{name}@{k}": (metric, k)
    for k in (5, 10, 20)
    for name, metric in (("recall", recall_at_k), ("mrr", mrr_at_k), ("ndcg", ndcg_at_k))
}


class MultiTaskModel(keras.Model):
    """What `fit`, `evaluate` and `compile` do; a subclass says what the terms are.

    A subclass has `losses_of(batch, training)`, `repair_statistics_of(batch)`, `term_weights`, `score` and `call`.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Make the running averages."""
        super().__init__(**kwargs)
        self.objective = "full"
        self.static_shapes = False
        self.training_means = _means(*LOSSES, *AUGMENTER_LOSSES, *REPAIR_STATISTICS, *VIEW_STATISTICS)
        self.test_means = _means(*RANKING_METRICS, *REPAIR_STATISTICS)

    def compile(self, optimizer: Any = None, objective: str = "full", jit_compile: bool = False, **kwargs: Any) -> None:
        """Configure training.

        Args:
            optimizer: a Keras optimizer or its name. Default: `LazyAdam()`.
            objective: "full", or "augmenter" to train `L_aug` alone first. Default: "full".
            jit_compile: compile the training step with XLA; give it batches of static shapes
                (`training_dataset(..., static_shapes=True)`), each new shape is compiled anew. Default: False.
            **kwargs: passed on to `keras.Model.compile`, `steps_per_execution` for one.
        """
        if objective not in OBJECTIVES:
            raise ValueError(f"Argument `objective` must be 'full' or 'augmenter'. Received: objective={objective!r}.")
        # Keras asks this attribute, and without it drops XLA with no more than a warning.
        self.supports_jit = bool(jit_compile)
        super().compile(optimizer=LazyAdam() if optimizer is None else optimizer, jit_compile=jit_compile, **kwargs)
        self.objective = objective
        self.static_shapes = bool(jit_compile)
        # Inside a strategy's scope variables can be made here, inside of its training step they cannot.
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All running averages; Keras resets them at the start of an epoch and of an evaluation."""
        return [*self.training_means.values(), *self.test_means.values()]

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Take one optimizer step on a batch and return the running averages."""
        with tf.GradientTape() as tape:
            terms, statistics = self.losses_of(batch, training=True)
            loss = sum(self.term_weights[name] * term for name, term in terms.items())
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        # The augmenter's objective leaves the recommender's blocks alone, and the other way round.
        reached = [(g, v) for g, v in zip(gradients, self.trainable_variables, strict=True) if g is not None]
        self.optimizer.apply_gradients(reached)
        statistics |= {name: (value, None) for name, value in {"loss": loss, **terms}.items()}
        for name in statistics.keys() & {*LOSSES, *AUGMENTER_LOSSES}:
            # A replica's loss is its share of the sum; what is logged is averaged over replicas.
            statistics[name] = statistics[name][0] * n_replicas(), None
        return _update(self.training_means, statistics)

    def test_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Rank each held-out item of a batch over the catalogue, the history excluded."""
        history = batch["history"]
        ranks = target_ranks(self.score(self(history, training=False)), batch["held_out_item"], exclude=history)
        statistics = {name: (metric(ranks, k), None) for name, (metric, k) in RANKING_METRICS.items()}
        if "corrupted" in batch:
            statistics |= self.repair_statistics_of(batch)
        return _update(self.test_means, statistics)

    def get_compile_config(self) -> dict[str, Any]:
        """Return what `compile` was called with."""
        return super().get_compile_config() | {"objective": self.objective}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile again as `get_compile_config` says; not at all if the model was saved before it was compiled."""
        if "optimizer" not in config:
            return
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        how = ("objective", "jit_compile", "steps_per_execution", "run_eagerly")
        self.compile(optimizer, **{name: config[name] for name in how})

    def make_train_function(self, force: bool = False) -> None:
        """Make the function of a training step."""
        if not has_several_workers(self.distribute_strategy):
            super().make_train_function(force)
        else:
            self.train_function = step_of_all_workers(self.distribute_strategy, self.train_step)

    def make_test_function(self, force: bool = False) -> None:
        """Make the function of an evaluation step, never compiled: its batches have many shapes."""
        if has_several_workers(self.distribute_strategy):
            self.test_function = step_of_all_workers(self.distribute_strategy, self.test_step)
            return
        self.jit_compile = False
        super().make_test_function(force)
        self.jit_compile = self.static_shapes

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # The model and its optimizer are built already. Keras would build them in a `tf.distribute` strategy by
        # averaging the replicas' batches, which are integers.
        pass


def _means(*names: str) -> dict[str, keras.metrics.Mean]:
    return {name: keras.metrics.Mean(name=name) for name in names}


def _update(means: dict[str, keras.metrics.Mean], statistics: Statistics) -> dict[str, tf.Tensor]:
    totals, counts = [], []
    for values, weights in statistics.values():
        values = tf.cast(values, tf.float32)
        weights = tf.ones_like(values) if weights is None else tf.cast(weights, tf.float32)
        totals.append(tf.reduce_sum(values * weights))
        counts.append(tf.reduce_sum(weights))
    # Added to the totals by hand: Keras would average each row first, and each replica on its own.
    totals, counts = tf.unstack(sum_over_replicas(tf.stack([totals, counts])))
    for index, name in enumerate(statistics):
        means[name].total.assign_add(totals[index])
        means[name].count.assign_add(counts[index])
    return {name: means[name].result() for name in statistics}
