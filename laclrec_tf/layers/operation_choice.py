"""How an operation is chosen from its logits."""

from __future__ import annotations

import keras
from keras import KerasTensor, ops

DECISIONS = ("argmax", "gumbel", "noise")
# The logit of an operation that is forbidden.
NEVER = -1e9


def choose_operations(
    logits: KerasTensor, decision: str, temperature: float, seed: keras.random.SeedGenerator
) -> KerasTensor:
    """Choose an operation at every position.

    Args:
        logits: `[B, L, 3]` float32, `NEVER` for a forbidden operation.
        decision: "argmax"; "gumbel" samples from the softmax; "noise" multiplies the logits by uniform noise and takes
            the argmax, as the released code does.
        temperature: of the softmax that "gumbel" samples from.
        seed: of the random decisions.

    Returns:
        `[B, L]` int32.

    Example:
        >>> logits = ops.array([[[0.1, 0.7, 0.2]]])
        >>> choose_operations(logits, "argmax", 1.0, keras.random.SeedGenerator(0)).numpy().tolist()
        [[1]]
    """
    if decision == "gumbel":
        uniform = keras.random.uniform(ops.shape(logits), minval=1e-7, seed=seed)
        logits = logits / temperature - ops.log(-ops.log(uniform))
    elif decision == "noise":
        allowed = logits > NEVER / 2
        noisy = logits * keras.random.uniform(ops.shape(logits), seed=seed)
        logits = ops.where(allowed, noisy, NEVER)
    return ops.argmax(logits, axis=-1)
