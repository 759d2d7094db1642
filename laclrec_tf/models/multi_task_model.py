"""A Keras model trained on several weighted loss terms and evaluated by the rank of held-out items."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from laclrec_tf.metrics import mrr_at_k, ndcg_at_k, recall_at_k, target_ranks
from laclrec_tf.models.training_statistics import REPAIR_STATISTICS, VIEW_STATISTICS

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
        self.training_means = _means(*LOSSES, *AUGMENTER_LOSSES, *REPAIR_STATISTICS, *VIEW_STATISTICS)
        self.test_means = _means(*RANKING_METRICS, *REPAIR_STATISTICS)

    def compile(self, optimizer: Any = "adam", objective: str = "full", **kwargs: Any) -> None:
        """Configure training.

        Args:
            optimizer: a Keras optimizer or its name. Default: "adam".
            objective: "full", or "augmenter" to train `L_aug` alone first. Default: "full".
            **kwargs: passed on to `keras.Model.compile`.
        """
        if objective not in OBJECTIVES:
            raise ValueError(f"Argument `objective` must be 'full' or 'augmenter'. Received: objective={objective!r}.")
        super().compile(optimizer=optimizer, **kwargs)
        self.objective = objective

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All running averages; Keras resets them at the start of an epoch and of an evaluation."""
        return [*self.training_means.values(), *self.test_means.values()]

    def train_step(self, batch):
        """Take one optimizer step on a batch and return the running averages."""
        with tf.GradientTape() as tape:
            terms, statistics = self.losses_of(batch, training=True)
            loss = sum(self.term_weights[name] * term for name, term in terms.items())
            scaled = self.optimizer.scale_loss(loss)
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        gradients = tape.gradient(scaled, self.trainable_variables)
        # The augmenter's objective leaves the recommender's blocks alone, and the other way round.
        reached = [(g, v) for g, v in zip(gradients, self.trainable_variables, strict=True) if g is not None]
        self.optimizer.apply_gradients(reached)
        statistics |= {name: (value, None) for name, value in {"loss": loss, **terms}.items()}
        return _update(self.training_means, statistics)

    def test_step(self, batch):
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
        """Compile again as `get_compile_config` says."""
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        self.compile(optimizer=optimizer, objective=config["objective"])
        self.optimizer.build(self.trainable_variables)


def _means(*names: str) -> dict[str, keras.metrics.Mean]:
    return {name: keras.metrics.Mean(name=name) for name in names}


def _update(means, statistics):
    for name, (values, weights) in statistics.items():
        # Flat, because Keras averages each row first: a short history would count as much as a long one.
        flat = [None if part is None else ops.reshape(part, (-1,)) for part in (values, weights)]
        means[name].update_state(flat[0], sample_weight=flat[1])
    return {name: means[name].result() for name in statistics}
