"""Adam that updates only the rows of an embedding table that a step touched."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="laclrec_tf")
class LazyAdam(keras.optimizers.Adam):
    """Adam for embedding tables: a gradient of some rows moves these rows, their momentum and nothing else.

    A dense gradient is applied in one fused operation, as `keras.optimizers.Adam` would, but in one pass over the
    weights. A gradient of rows (`tf.IndexedSlices`) is summed by row first; then rows without gradient keep weight,
    momentum and velocity, where Keras's Adam decays and moves all of them. The bias correction counts all steps.
    Clipping sees whole rows too: it bounds the norm or value that the dense gradient would have.

    What Keras does around a step is not lazy: `weight_decay` and the running average of `use_ema` go through all rows,
    and `gradient_accumulation_steps` adds up dense gradients, so that every row moves, as with `keras.optimizers.Adam`.

    Args:
        learning_rate: Default: 1e-3.
        beta_1: decay of the momentum. Default: 0.9.
        beta_2: decay of the velocity. Default: 0.999.
        epsilon: Default: 1e-7.
        **kwargs: passed on to `keras.optimizers.Adam`; `amsgrad` is not offered.

    Raises:
        ValueError: `amsgrad` is asked for.

    Example:
        >>> optimizer = LazyAdam(0.1)
        >>> table = keras.Variable([[1.0], [1.0]])
        >>> optimizer.apply([tf.IndexedSlices(tf.ones([1, 1]), tf.constant([1]), tf.constant([2, 1]))], [table])
        >>> [round(float(weight), 3) for weight in table.numpy()[:, 0]]
        [1.0, 0.9]

    Reference: Kingma and Ba (arXiv 1412.6980).
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "lazy_adam",
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("amsgrad", False):
            raise ValueError("Argument `amsgrad` must be False: LazyAdam has no AMSGrad. Received: amsgrad=True.")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name=name, **kwargs)

    def update_step(self, gradient: Any, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Move one variable, or some of its rows."""
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index].value, self._velocities[index].value
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        step = keras.ops.cast(self.iterations + 1, "float32")  # a variable, or with accumulation a tensor
        powers = [tf.pow(tf.constant(beta, tf.float32), step) for beta in (self.beta_1, self.beta_2)]
        if not isinstance(gradient, tf.IndexedSlices):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=momentum.handle,
                v=velocity.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=tf.cast(learning_rate, tf.float32),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=tf.cast(gradient, tf.float32),
            )
            return
        rows, total = _summed_by_row(gradient)
        new_momentum = self.beta_1 * tf.gather(momentum, rows) + (1 - self.beta_1) * total
        new_velocity = self.beta_2 * tf.gather(velocity, rows) + (1 - self.beta_2) * tf.square(total)
        rate = tf.cast(learning_rate, tf.float32) * tf.sqrt(1 - powers[1]) / (1 - powers[0])
        moved = tf.gather(variable, rows) - rate * new_momentum / (tf.sqrt(new_velocity) + self.epsilon)
        for resource, updates in ((momentum, new_momentum), (velocity, new_velocity), (variable, moved)):
            tf.raw_ops.ResourceScatterUpdate(resource=resource.handle, indices=rows, updates=updates)

    def _update_model_variables_moving_average(self, trainable_variables: list[Any]) -> None:
        """Move the running averages as Keras does, each in one fused operation."""
        if not self.use_ema:
            return
        # The average of the first step is its weights.
        share = 1.0 - self.ema_momentum * keras.ops.cast(keras.ops.not_equal(self.iterations, 0), "float32")
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            average = average.value
            step = tf.cast(average - variable.value, average.dtype)
            tf.raw_ops.ResourceApplyGradientDescent(var=average.handle, alpha=share, delta=step)

    def _clip_gradients(self, gradients: list[Any]) -> list[Any]:
        """Clip as Keras does, but repeated rows by their sum, and by the global norm without making rows dense."""
        if not (self.clipnorm or self.global_clipnorm or self.clipvalue):
            return gradients
        gradients = [_each_row_once(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
        if self.global_clipnorm:
            return tf.clip_by_global_norm(gradients, self.global_clipnorm)[0]
        return super()._clip_gradients(gradients)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = super().get_config()
        del config["amsgrad"]
        return config


def _summed_by_row(gradient: tf.IndexedSlices) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the rows `[n]`, repeated ones included, and at each place the whole gradient of its row `[n, D]`.

    With repetitions the shapes do not depend on the ids, as XLA needs it; places of one row write the same values.
    """
    rows, values = gradient.indices, tf.cast(gradient.values, tf.float32)
    order = tf.argsort(rows)
    ordered = tf.gather(rows, order)
    is_first = tf.concat([tf.ones_like(ordered[:1]), tf.cast(ordered[1:] != ordered[:-1], ordered.dtype)], axis=0)
    segment = tf.cumsum(is_first) - 1
    totals = tf.math.unsorted_segment_sum(tf.gather(values, order), segment, tf.size(rows))
    return ordered, tf.gather(totals, segment)


def _each_row_once(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """Return the same gradient with the whole of a row at its first place and zeros at its other places."""
    rows, total = _summed_by_row(gradient)
    is_first = tf.concat([tf.ones_like(rows[:1], tf.bool), rows[1:] != rows[:-1]], axis=0)
    return tf.IndexedSlices(tf.where(is_first[:, tf.newaxis], total, 0.0), rows, gradient.dense_shape)
