"""Whether an augmenter has collapsed, judging by an epoch's logs, and the likely cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEARLY_ALL = 0.98
# Of the noise in broken histories, which is random: an augmenter that has learnt anything finds more.
LITTLE_FOUND = 0.1


def collapse(logs: Mapping[str, float]) -> str | None:
    """Say how the augmenter has collapsed, judging by the operation rates on real histories; None if it has not.

    Args:
        logs: an epoch's, `keep_rate` and `delete_rate` are read.

    Example:
        >>> collapse({"keep_rate": 0.99, "delete_rate": 0.0})
        'keeps 99 % of the items: the learned view is the raw history'
        >>> collapse({"keep_rate": 0.7, "delete_rate": 0.1})
    """
    if logs.get("keep_rate", 0.0) > NEARLY_ALL:
        return f"keeps {100 * logs['keep_rate']:.0f} % of the items: the learned view is the raw history"
    if logs.get("delete_rate", 0.0) > NEARLY_ALL:
        return f"deletes {100 * logs['delete_rate']:.0f} % of the items: the learned view is empty"
    return None


def likely_cause(logs: Mapping[str, float], settings: Mapping[str, Any] | None = None) -> str:
    """Say why an augmenter has most likely collapsed, and what to change.

    Args:
        logs: an epoch's; `val_deletion_recall`, or `deletion_recall` of the training batches, tells whether the
            augmenter repairs broken histories.
        settings: `LACLRec`'s arguments; `lambda_aug`, `decision` and `decision_temperature` are read. Default: unknown.

    Example:
        >>> likely_cause({"keep_rate": 1.0}, {"lambda_aug": 0.0})
        'Likely cause: lambda_aug is 0, so its heads are not trained beside the recommender. Set lambda_aug=0.03.'
    """
    settings = settings or {}
    if settings.get("lambda_aug") == 0:
        return (
            "Likely cause: lambda_aug is 0, so its heads are not trained beside the recommender. Set lambda_aug=0.03."
        )
    found = logs.get("val_deletion_recall", logs.get("deletion_recall"))
    if found is None:
        return (
            "Likely causes: too little training of the augmenter (raise pretrain_epochs or lambda_aug), "
            "or a decision_temperature that is too low for decision=gumbel."
        )
    found_text = f"it deletes {100 * found:.0f} % of the noise in broken histories"
    deletes_all = logs.get("delete_rate", 0.0) > NEARLY_ALL
    if not deletes_all and found < LITTLE_FOUND:
        return f"Likely cause: it has learnt little yet, {found_text}. Raise pretrain_epochs or lambda_aug."
    if deletes_all:
        return (
            f"Likely cause: it takes every item for noise ({found_text}, and all else with it). "
            "Raise pretrain_epochs or lambda_aug, or lower learning_rate."
        )
    if settings.get("decision") == "gumbel" and settings.get("decision_temperature", 1.0) < 1:
        return "Likely cause: a decision_temperature below 1 leaves only the likeliest operation, KEEP. Raise it."
    remedy = "decision=gumbel draws edits it is less sure of."
    if settings.get("decision") in ("gumbel", "noise"):
        remedy = "Raise decision_temperature, or lambda_aug."
    return f"Likely cause: real histories look whole to it, though {found_text}. {remedy}"
