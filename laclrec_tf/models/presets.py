"""Named models: LACLRec, its ablations, the baselines that are special cases of it, and those that are counted."""

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

# Arguments of `CountModel`: the most popular items, the newest items of the history, what followed the last item, and
# what followed the last items. The numbers were chosen on validation, see `docs/compare.md`.
COUNTED_PRESETS: dict[str, dict[str, Any]] = {
    "popular": {"n_last": 0},
    "recent": {"n_last": None, "max_distance": 0},
    "bigram": {"n_last": 1, "discount": 0.0},
    "item-knn": {"n_last": 20},
}


def preset_arguments(name: str) -> dict[str, Any]:
    """Return the arguments of `LACLRec`, or of `CountModel`, in which a preset differs from the defaults.

    Args:
        name: One of `PRESETS` or `COUNTED_PRESETS`.

    Raises:
        InputError: the preset is unknown; the message suggests the closest name.

    Example:
        >>> preset_arguments("laclrec-no-triplet")
        {'beta': 0.0}
    """
    presets = PRESETS | COUNTED_PRESETS
    if name not in presets:
        close = difflib.get_close_matches(name, presets, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"Unknown preset {name!r}. Presets: {', '.join(presets)}.{hint}")
    return dict(presets[name])


def build_preset(name: str, n_items: int, **overrides: Any) -> LACLRec:
    """Build the model of a preset.

    Args:
        name: One of `PRESETS`.
        n_items: Catalogue size `N`.
        **overrides: Arguments of `LACLRec` that replace the preset's.

    Returns:
        An untrained `LACLRec`.

    Raises:
        InputError: the preset is unknown, or is counted.

    Example:
        >>> build_preset("sasrec", n_items=20, width=8).n_random_views
        0
    """
    if name in COUNTED_PRESETS:
        raise InputError(f"Preset {name!r} is counted and has nothing to train. Make it with `laclrec-tf train`.")
    return LACLRec(n_items, **(preset_arguments(name) | overrides))
