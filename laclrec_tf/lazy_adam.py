"""Adam that updates only those rows of an embedding table that have a gradient."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="laclrec_tf")
class LazyAdam(keras.optimizers.Adam):
    """Adam for embedding tables: a sparse gradient updates only its rows and their moments.

    A dense gradient has the same result as in `keras.optimizers.Adam`, computed by one fused operation in one pass over
    the weights. A sparse gradient (`tf.IndexedSlices`) is first summed by row. Then the other rows keep their weight,
    momentum and velocity, which Keras's Adam would decay and move. The bias correction counts all steps. Clipping
    bounds the norm or value that the dense gradient would have.

    The operations of Keras around a step are not lazy. `weight_decay` and the moving average of `use_ema` update all
    rows. `gradient_accumulation_steps` sums dense gradients, so that every row moves, as in `keras.optimizers.Adam`.

    Args:
        learning_rate: learning rate, or a schedule. Default: 1e-3.
        beta_1: decay rate of the momentum. Default: 0.9.
        beta_2: decay rate of the velocity. Default: 0.999.
        epsilon: constant that is added to the root of the velocity. Default: 1e-7.
        **kwargs: other arguments of `keras.optimizers.Adam`, except `amsgrad`.

    Raises:
        ValueError: `amsgrad` is True.

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
        """Update one variable, or some of its rows."""
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
        """Update the moving averages as Keras does, each with one fused operation."""
        if not self.use_ema:
            return
        # After the first step, the average is equal to the weights.
        share = 1.0 - self.ema_momentum * keras.ops.cast(keras.ops.not_equal(self.iterations, 0), "float32")
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            average = average.value
            step = tf.cast(average - variable.value, average.dtype)
            tf.raw_ops.ResourceApplyGradientDescent(var=average.handle, alpha=share, delta=step)

    def _clip_gradients(self, gradients: list[Any]) -> list[Any]:
        """Clip as Keras does, but sum repeated rows first, and keep sparse gradients sparse for the global norm."""
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
    """Return the sorted rows `[n]` with repetitions, and for each the summed gradient of its row `[n, D]`.

    Keeping the repetitions makes the shapes independent of the ids, as XLA requires. Repetitions write equal values.
    """
    rows, values = gradient.indices, tf.cast(gradient.values, tf.float32)
    order = tf.argsort(rows)
    ordered = tf.gather(rows, order)
    is_first = tf.concat([tf.ones_like(ordered[:1]), tf.cast(ordered[1:] != ordered[:-1], ordered.dtype)], axis=0)
    segment = tf.cumsum(is_first) - 1
    totals = tf.math.unsorted_segment_sum(tf.gather(values, order), segment, tf.size(rows))
    return ordered, tf.gather(totals, segment)


def _each_row_once(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """Return the same gradient with the sum of a row at its first position and zeros at its repetitions."""
    rows, total = _summed_by_row(gradient)
    is_first = tf.concat([tf.ones_like(rows[:1], tf.bool), rows[1:] != rows[:-1]], axis=0)
    return tf.IndexedSlices(tf.where(is_first[:, tf.newaxis], total, 0.0), rows, gradient.dense_shape)
