"""Where a training step's time goes: the same step, timed with one part after the other taken out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.models import LACLRec


class _WithoutSoftmax(LACLRec):
    """The model with a mean of squares in place of each cross-entropy over the catalogue."""

    def catalogue_loss(self, vectors: Any, *_: Any, **__: Any) -> Any:
        return tf.reduce_mean(tf.cast(tf.square(vectors), tf.float32))


class _WithoutAugmenter(_WithoutSoftmax):
    """The model that takes each raw history for its learned view and does not train the augmenter."""

    def _learned_edits(self, history: Any) -> Edits:
        keep = tf.zeros_like(history)
        return Edits(keep, None, None, history)

    def _repair(self, *_: Any) -> None:
        pass


def step_parts(
    model: LACLRec, batches: Sequence[dict[str, Any]], repeats: int = 3, seconds_at_most: float = 120.0
) -> dict[str, float]:
    """Share out the time of a training step.

    The softmax's share is what the step takes less when each cross-entropy over the catalogue (next item, views,
    insertions) is replaced by a mean of squares; the augmenter's, what it takes less when besides that nothing is
    edited or repaired; the optimizer's, what the step takes more than its gradients. The rest is the encoder's:
    embeddings, transformer blocks, the other losses, the statistics.

    Args:
        model: a compiled model.
        batches: batches of the sizes that training sees.
        repeats: times each variant goes over the batches; the fastest counts. Default: 3.
        seconds_at_most: no further repeat of a variant is begun after so long. Default: 120.

    Returns:
        Shares by name, "encoder", "softmax", "augmenter" and "optimizer", adding up to 1.
    """
    signature = [{name: tf.TensorSpec([None] * len(value.shape), value.dtype) for name, value in batches[0].items()}]

    def timed(step: Callable[[dict[str, tf.Tensor]], Any]) -> float:
        compiled = tf.function(step, input_signature=signature, jit_compile=model.static_shapes, autograph=False)
        seconds: list[float] = []
        began = time.perf_counter()
        while len(seconds) <= repeats and (len(seconds) < 2 or time.perf_counter() - began < seconds_at_most):
            started = time.perf_counter()
            for batch in batches:
                result = compiled(batch)
            _ = [value.numpy() for value in tf.nest.flatten(result)]
            seconds.append(time.perf_counter() - started)
        return min(seconds[1:])  # the first pass traces

    def gradients_of(variant: LACLRec) -> float:
        def gradients(batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                terms, _ = variant.losses_of(batch, training=True)
                loss = sum(variant.term_weights[name] * term for name, term in terms.items())
            found = tape.gradient(loss, variant.trainable_variables)
            # A row of each, so that every gradient is computed and none is copied out.
            values = [part.values if isinstance(part, tf.IndexedSlices) else part for part in found]
            return [value[:1] for value in values if value is not None]

        return timed(gradients)

    def without(kind: type[LACLRec]) -> LACLRec:
        variant = kind.from_config(model.get_config())
        variant.set_weights(model.get_weights())
        variant.static_shapes = model.static_shapes
        return variant

    step = timed(model.train_step)
    gradients = min(gradients_of(model), step)
    no_softmax = min(gradients_of(without(_WithoutSoftmax)), gradients)
    no_augmenter = min(gradients_of(without(_WithoutAugmenter)), no_softmax) if model.has_augmenter else no_softmax
    return {
        "encoder": no_augmenter / step,
        "softmax": (gradients - no_softmax) / step,
        "augmenter": (no_softmax - no_augmenter) / step,
        "optimizer": (step - gradients) / step,
    }
