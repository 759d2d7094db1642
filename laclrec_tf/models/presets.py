"""Named models: LACLRec, its ablations, and the baselines that are special cases of it."""

from __future__ import annotations

import difflib
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.models.laclrec import LACLRec

PRESETS: dict[str, dict[str, Any]] = {
    "laclrec": {},
    "cl4srec": {"contrast_views": "random-random", "beta": 0.0, "lambda_aug": 0.0},
    "sasrec": {"alpha": 0.0, "beta": 0.0, "lambda_aug": 0.0},
    "laclrec-no-delete": {"can_delete": False},
    "laclrec-no-insert": {"can_insert": False},
    "laclrec-no-triplet": {"beta": 0.0},
}


def preset_arguments(name: str) -> dict[str, Any]:
    """Return the arguments of `LACLRec` in which a preset differs from the defaults.

    Args:
        name: One of `PRESETS`.

    Raises:
        InputError: the preset is unknown; the message suggests the closest name.

    Example:
        >>> preset_arguments("laclrec-no-triplet")
        {'beta': 0.0}
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"Unknown preset {name!r}. Presets: {', '.join(PRESETS)}.{hint}")
    return dict(PRESETS[name])


def build_preset(name: str, n_items: int, **overrides: Any) -> LACLRec:
    """Build the model of a preset.

    Args:
        name: One of `PRESETS`.
        n_items: Catalogue size `N`.
        **overrides: Arguments of `LACLRec` that replace the preset's.

    Returns:
        An untrained `LACLRec`.

    Example:
        >>> build_preset("sasrec", n_items=20, width=8).n_random_views
        0
    """
    return LACLRec(n_items, **(preset_arguments(name) | overrides))
