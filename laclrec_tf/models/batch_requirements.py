"""What a training batch must hold for a model's objective."""

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
