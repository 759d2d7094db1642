"""Held-out histories and the live model's recommendations for them, which a version must repeat wherever it is loaded.

`assets.extra/held_out_topk.json` holds the histories of some users, without their ids, and the recommendations of the
training process for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.version.folder import reading

HELD_OUT_FILE = Path("assets.extra", "held_out_topk.json")
SIGNATURE = "serving_default"
TOLERANCE = 1e-5


@dataclass(frozen=True)
class HeldOutHistories:
    """Histories that a version is checked on.

    Args:
        source: origin of the histories, for people.
        histories: item strings, oldest first; at least one history.
    """

    source: str
    histories: Sequence[Sequence[str]]

    def __repr__(self) -> str:
        return f"HeldOutHistories({len(self.histories):,} histories, {self.source})"


@dataclass(frozen=True)
class RankedItems:
    """The filled slots of one answer, best first.

    Args:
        item_ids: item strings, each once.
        scores: their scores.
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]


def ranked_items(outputs: Mapping[str, np.ndarray]) -> list[RankedItems]:
    """Read recommended items and scores, filled slots only.

    Args:
        outputs: `item_ids` `[B, k]` bytes, `""` in unfilled slots, and `scores` `[B, k]` float32.

    Returns:
        One entry for each row.

    Example:
        >>> ranked_items({"item_ids": np.array([[b"tent", b""]], object), "scores": np.array([[0.5, -1e30]])})
        [RankedItems(item_ids=('tent',), scores=(0.5,))]
    """
    rows = []
    for items, scores in zip(outputs["item_ids"].tolist(), outputs["scores"].tolist(), strict=True):
        filled = [(item.decode("utf-8", "replace"), score) for item, score in zip(items, scores, strict=True) if item]
        rows.append(RankedItems(tuple(item for item, _ in filled), tuple(score for _, score in filled)))
    return rows


def write_held_out_topk(
    version: Path, held_out: HeldOutHistories, recommend: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
) -> None:
    """Write histories and the live model's answers to `assets.extra/held_out_topk.json`.

    Args:
        version: the version's folder.
        held_out: the histories.
        recommend: the live model's `serving_default`.
    """
    answers = recommend(tf.constant(padded_batch(held_out.histories), tf.string))
    rows = ranked_items({name: answers[name].numpy() for name in ("item_ids", "scores")})
    content = {
        "source": held_out.source,
        "signature": SIGNATURE,
        "rows": [
            {"history": list(history), "item_ids": row.item_ids, "scores": row.scores}
            for history, row in zip(held_out.histories, rows, strict=True)
        ],
    }
    file = version / HELD_OUT_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_held_out_topk(version: Path) -> tuple[HeldOutHistories, list[RankedItems]]:
    """Read the histories and the live model's answers.

    Args:
        version: the version's folder.

    Returns:
        The histories, and an answer for each.

    Raises:
        InputError: the file is missing, is damaged or holds no history.
    """
    with reading(version, HELD_OUT_FILE) as content:
        histories = [[str(item) for item in row["history"]] for row in content["rows"]]
        answers = [RankedItems(tuple(row["item_ids"]), tuple(map(float, row["scores"]))) for row in content["rows"]]
        if not histories or any(len(answer.item_ids) != len(answer.scores) for answer in answers):
            raise ValueError
        return HeldOutHistories(str(content["source"]), histories), answers


def same_ranking(expected: RankedItems, received: RankedItems, tolerance: float = TOLERANCE) -> bool:
    """Return whether two answers agree: the scores place by place, and the score of each item.

    Items whose scores are equal within the tolerance may change places, also with one just below the last place.

    Args:
        expected: the live model's answer.
        received: the other one.
        tolerance: max difference of scores, relative to the score, and to 1 or the largest score if that is less.
            Default: 1e-5.

    Example:
        >>> tied = RankedItems(("tent", "stove"), (0.5, 0.5))
        >>> same_ranking(tied, RankedItems(("stove", "rope"), (0.5, 0.5)))
        True
        >>> same_ranking(tied, RankedItems(("rope", "tent"), (0.7, 0.5)))
        False
    """
    if len(expected.item_ids) != len(received.item_ids) or len(set(received.item_ids)) != len(received.item_ids):
        return False
    absolute = tolerance * min(1.0, max(map(abs, expected.scores), default=1.0))
    if not np.allclose(expected.scores, received.scores, rtol=tolerance, atol=absolute):
        return False
    if not expected.scores:
        return True
    # An item that is missing in one answer can only have been below its last place.
    own = dict(zip(expected.item_ids, expected.scores, strict=True))
    other = dict(zip(received.item_ids, received.scores, strict=True))
    last = expected.scores[-1]
    before = [own.get(item, last) for item in own.keys() | other.keys()]
    after = [other.get(item, last) for item in own.keys() | other.keys()]
    return bool(np.allclose(before, after, rtol=2 * tolerance, atol=2 * absolute))
