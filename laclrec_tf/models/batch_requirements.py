"""What a model's objective asks of a training batch, and whether a batch holds it."""

from __future__ import annotations

from typing import Any


def batch_requirements(model: Any) -> dict[str, Any]:
    """Return arguments of `laclrec_tf.data.input_pipeline.training_dataset`; a batch holds no more than is needed.

    The probabilities of corruption are the paper's; what the augmenter may not undo is not done either.

    Args:
        model: a `LACLRec`.

    Returns:
        By name: how many random views, whether corruptions, and their settings.

    Example:
        >>> from laclrec_tf.models import build_preset
        >>> batch_requirements(build_preset("laclrec", n_items=20, width=8))["corruption"]
        True
    """
    p_keep, p_delete = 0.40, 0.45
    if not model.can_delete:
        p_keep, p_delete = 0.55, 0.45  # no random items: nothing to delete
    if not model.can_insert:
        p_keep, p_delete = 0.85, 0.0  # nothing dropped: nothing to insert
    return {
        "n_items": model.n_items,
        "n_random_views": model.n_random_views,
        "corruption": model.has_augmenter,
        "p_keep": p_keep,
        "p_delete": p_delete,
        "max_insertions": model.max_insertions,
        "max_edited_length": model.max_edited_length,
    }


def check_batch(model: Any, batch: Any) -> None:
    """Refuse a training batch that the model's objective cannot be computed on.

    Args:
        model: a `LACLRec`.
        batch: a dict of tensors, see `LACLRec.losses_of`.

    Raises:
        ValueError: a key is missing.

    Example:
        >>> from laclrec_tf.models import build_preset
        >>> check_batch(build_preset("sasrec", n_items=20, width=8), {"history": None, "target": None})
    """
    needed: list[str] = []
    if model.objective == "full":
        needed += ["history", "target"]
        if model.n_random_views:
            needed += ["prefix_lengths", "random_view", "random_view_2"][: 1 + model.n_random_views]
    if model.term_weights.get("augmenter_loss"):
        needed += ["corrupted", "operations", "insertions"]
    held = sorted(batch) if isinstance(batch, dict) else []
    if not set(needed) <= set(held):
        received = ", ".join(held) if held else f"a {type(batch).__name__}"
        raise ValueError(
            f"Argument `batch` must be a dict with {', '.join(needed)} for this objective. Received: {received}. "
            "Make batches with `training_dataset(histories, **model.batch_requirements)`."
        )
