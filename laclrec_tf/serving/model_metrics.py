"""What is known of how well a version recommends: `assets.extra/metrics.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError

METRICS_FILE = Path("assets.extra", "metrics.json")
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one split under one protocol.

    Args:
        split: "validation" or "test".
        protocol: what the held-out items were ranked against, "full" for one.
        metrics: by name, such as "ndcg@10"; more is better. None stands for a number that was not finite.
        users: how many histories were asked. Default: None, not recorded.
        tie_rule: how equal scores were ranked. Default: None, not recorded.
        negatives_seed: of the sampled items, for a protocol that samples. Default: None.
    """

    split: str
    protocol: str
    metrics: Mapping[str, float | None] = field(hash=False)
    users: int | None = None
    tie_rule: str | None = None
    negatives_seed: int | None = None

    @property
    def name(self) -> str:
        """How messages call it: two evaluations of the same name and data can be compared."""
        seed = "" if self.negatives_seed is None else f", sampled with seed {self.negatives_seed}"
        return f"{self.split}, {self.protocol}{seed}"


@dataclass(frozen=True)
class ModelMetrics:
    """All metrics of a version, and what they were measured on. What is not known is None.

    Args:
        data_hash: of the prepared data.
        data_counts: users, items and events of the prepared data.
        trained_on: "strict" or "refit".
        seed: of the training.
        preset: of the model.
        evaluations: Default: none.

    Example:
        >>> metrics = ModelMetrics(seed=3, evaluations=(Evaluation("test", "full", {"ndcg@10": 0.07}),))
        >>> metrics.evaluations[0].name, metrics.data_hash
        ('test, full', None)
    """

    data_hash: str | None = None
    data_counts: Mapping[str, int] | None = field(default=None, hash=False)
    trained_on: str | None = None
    seed: int | None = None
    preset: str | None = None
    evaluations: tuple[Evaluation, ...] = ()

    def write(self, version_folder: Path) -> None:
        """Write `assets.extra/metrics.json`.

        Args:
            version_folder: the version's folder.
        """
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        file = version_folder / METRICS_FILE
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, version_folder: Path) -> ModelMetrics:
        """Read `assets.extra/metrics.json`.

        Args:
            version_folder: the version's folder.

        Raises:
            InputError: there is no such file, it is damaged or of another format version.
        """
        file = version_folder / METRICS_FILE
        if not file.is_file():
            raise InputError(f"{version_folder} has no {METRICS_FILE.as_posix()}. Export the model again.")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content.pop("format_version") != FORMAT_VERSION:
                raise InputError(f"{file} is of another format version than {FORMAT_VERSION}. Export the model again.")
            evaluations = tuple(Evaluation(**evaluation) for evaluation in content.pop("evaluations"))
            return cls(**content, evaluations=evaluations)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{file} is damaged. Export the model again.") from None


def finite(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Take the numbers of a report, None for those that JSON cannot hold.

    Args:
        metrics: numbers by name.

    Example:
        >>> finite({"ndcg@10": 0.5, "mrr@10": float("nan")})
        {'ndcg@10': 0.5, 'mrr@10': None}
    """
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
