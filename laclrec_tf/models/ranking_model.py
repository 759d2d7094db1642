"""A Keras model that is trained on several weighted loss terms and evaluated by the ranks of held-out items."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import tensorflow as tf

from laclrec_tf.lazy_adam import LazyAdam
from laclrec_tf.metrics.ranking import GAINS, KS, target_ranks
from laclrec_tf.models.training_statistics import Statistics
from laclrec_tf.ops.replicas import has_several_workers, n_replicas, step_of_all_workers, sum_over_replicas

RANKING_METRICS = {f"{name}@{k}": (metric, k) for k in KS for name, metric in GAINS.items()}


class RankingModel(keras.Model):
    """`compile`, `fit` and `evaluate` for a model whose loss is a weighted sum of terms.

    A subclass turns histories `[B, L]` into user vectors `[B, D]` when it is called. It also defines

    - `losses_of(batch, training)`: the terms before their weights and the statistics of a batch, both by name; a
      statistic is `(values, weights)`;
    - `term_weights`: the weight of each term of the objective in force;
    - `score(user_vectors)`: scores `[B, N + 3]`, column `i` for id `i`;
    - `repair_statistics_of(batch)`: the statistics named by `repair_names`;
    - `exclude_history`: whether the items of a history are not to be recommended;
    - the class attributes below.

    Args:
        **kwargs: Passed on to `keras.Model`.

    Attributes:
        objectives: Names of the objectives that `compile` takes, the default first.
        loss_names: Names of the loss terms and of other losses in the statistics. Inside a replica each value is the
            replica's share of the mean over all replicas.
        statistic_names: Names of the other statistics of a training step.
        repair_names: Names of the statistics that an evaluation step adds for batches with corrupted histories.
        objective: The objective in force.
        static_shapes: Whether training batches have static shapes, as XLA needs them.
    """

    objectives: ClassVar[tuple[str, ...]]
    loss_names: ClassVar[tuple[str, ...]]
    statistic_names: ClassVar[tuple[str, ...]]
    repair_names: ClassVar[tuple[str, ...]]
    exclude_history: bool

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Shapes of training batches change from step to step. Keras compiles with XLA only if this is True.
        self.supports_jit = False
        self.objective = self.objectives[0]
        self.static_shapes = False
        self.training_means = _means("loss", *self.loss_names, *self.statistic_names)
        self.test_means = _means(*RANKING_METRICS, *self.repair_names)

    def compile(
        self, optimizer: Any = None, objective: str | None = None, jit_compile: bool = False, **kwargs: Any
    ) -> None:
        """Configure training.

        Args:
            optimizer: A Keras optimizer or its name. Default: `LazyAdam()`.
            objective: One of `objectives`. Default: the first of them.
            jit_compile: Compile the training step with XLA. Use batches of static shapes
                (`training_dataset(..., static_shapes=True)`), because each new shape is compiled again. Default: False.
            **kwargs: Passed on to `keras.Model.compile`, e.g. `steps_per_execution`.

        Raises:
            ValueError: `objective` is unknown, or a loss or metrics are given: the model has its own.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"Argument `{name}` must be left out: the model computes its own losses and ranking metrics. "
                    f"Received: {name}={kwargs[name]!r}. The weights of the losses are arguments of the model."
                )
        objective = self.objectives[0] if objective is None else objective
        if objective not in self.objectives:
            expected = " or ".join(map(repr, self.objectives))
            raise ValueError(f"Argument `objective` must be {expected}. Received: objective={objective!r}.")
        self.supports_jit = bool(jit_compile)
        super().compile(optimizer=LazyAdam() if optimizer is None else optimizer, jit_compile=jit_compile, **kwargs)
        self.objective = objective
        self.static_shapes = bool(jit_compile)
        # A strategy allows new variables in its scope, but not in its training step.
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does, on batches of `laclrec_tf.data.training_dataset`.

        Raises:
            ValueError: a callback watches `val_loss`, the default of `EarlyStopping`, which the model does not compute.
        """
        _check_monitors(callbacks)
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All running means. Keras resets them at the start of each epoch and evaluation."""
        return [*self.training_means.values(), *self.test_means.values()]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Take one optimizer step on a batch, a dict of tensors, and return the running means."""
        batch = _batch_of(data)
        with tf.GradientTape() as tape:
            terms, statistics = self.losses_of(batch, training=True)
            loss = sum(self.term_weights[name] * term for name, term in terms.items())
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        # An objective may not reach every variable: the augmenter's does not reach the recommender's blocks.
        reached = [(g, v) for g, v in zip(gradients, self.trainable_variables, strict=True) if g is not None]
        self.optimizer.apply_gradients(reached)
        statistics |= {name: (value, None) for name, value in {"loss": loss, **terms}.items()}
        for name in statistics.keys() & {"loss", *self.loss_names}:
            # A replica's loss is its share of the mean, and the logs average over replicas.
            statistics[name] = statistics[name][0] * n_replicas(), None
        return _updated(self.training_means, statistics)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Rank each held-out item of a batch, a dict of tensors, over the items that may be recommended."""
        batch = _batch_of(data)
        if not (isinstance(batch, dict) and {"history", "held_out_item"} <= set(batch)):
            received = ", ".join(sorted(batch)) if isinstance(batch, dict) else f"a {type(batch).__name__}"
            raise ValueError(
                "A batch to evaluate on must be a dict with `history` and `held_out_item`. "
                f"Received: {received}. Make batches with `evaluation_dataset(histories, targets)`."
            )
        history = batch["history"]
        scores = self.score(self(history, training=False))
        ranks = target_ranks(scores, batch["held_out_item"], exclude=history if self.exclude_history else None)
        statistics = {name: (metric(ranks, k), None) for name, (metric, k) in RANKING_METRICS.items()}
        if "corrupted" in batch:
            statistics |= self.repair_statistics_of(batch)
        return _updated(self.test_means, statistics)

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile`."""
        return super().get_compile_config() | {"objective": self.objective}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` says. A model that was saved before it was compiled stays uncompiled."""
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
        """Make the function of an evaluation step. XLA never compiles it, because its batches have many shapes."""
        if has_several_workers(self.distribute_strategy):
            self.test_function = step_of_all_workers(self.distribute_strategy, self.test_step)
            return
        self.jit_compile = False
        super().make_test_function(force)
        self.jit_compile = self.static_shapes

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # The model and its optimizer are built already. In a `tf.distribute` strategy Keras would average the replicas'
        # batches to build them, which fails for integers.
        pass


def _means(*names: str) -> dict[str, keras.metrics.Mean]:
    return {name: keras.metrics.Mean(name=name, dtype="float32") for name in names}


def _batch_of(data: Any) -> Any:
    """Return the batch itself. Keras puts one from a generator or `train_on_batch` into a tuple `(x, y, weights)`."""
    if not isinstance(data, tuple):
        return data
    batch, *others = data
    if any(each is not None for each in others):
        raise ValueError(
            "A batch must be a dict of tensors that holds its targets. Received: targets `y` or `sample_weight` beside "
            "it. Leave them out."
        )
    return batch


def _check_monitors(callbacks: Any) -> None:
    """Refuse a callback that watches `val_loss`, Keras's default: it would only warn and do nothing."""
    for callback in tf.nest.flatten(callbacks):
        if getattr(callback, "monitor", None) != "val_loss":
            continue
        if isinstance(callback, keras.callbacks.ModelCheckpoint) and not callback.save_best_only:
            continue
        raise ValueError(
            f"Argument `callbacks`: {type(callback).__name__} watches 'val_loss', which this model does not compute: a "
            "validation measures ranks. Watch a metric: monitor='val_ndcg@10', mode='max'."
        )


def _updated(means: dict[str, keras.metrics.Mean], statistics: Statistics) -> dict[str, tf.Tensor]:
    totals, counts = [], []
    for values, weights in statistics.values():
        values = tf.cast(values, tf.float32)
        weights = tf.ones_like(values) if weights is None else tf.cast(weights, tf.float32)
        totals.append(tf.reduce_sum(values * weights))
        counts.append(tf.reduce_sum(weights))
    # Keras would average each row first, and each replica on its own.
    totals, counts = tf.unstack(sum_over_replicas(tf.stack([totals, counts])))
    for index, name in enumerate(statistics):
        means[name].total.assign_add(totals[index])
        means[name].count.assign_add(counts[index])
    return {name: means[name].result() for name in statistics}
