"""What is known of how well a version recommends: `assets.extra/metrics.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.version.folder import newest_version

METADATA_FILE = Path("assets.extra", "metadata.json")
VOCABULARY_FILE = Path("assets", "vocabulary.txt")
METRICS_FILE = Path("assets.extra", "metrics.json")
FORMAT_VERSION = 1


@dataclass(frozen=True)
class VersionDescription:
    """What one must know of a version to ask it.

    Args:
        vocabulary: the items.
        max_length: the longest history that the model reads.
        signatures: what may be asked. Default: nothing.
    """

    vocabulary: ItemVocabulary
    max_length: int
    signatures: frozenset[str] = frozenset()

    @classmethod
    def read(cls, version_folder: Path) -> VersionDescription:
        """Read what `export_model` wrote.

        Args:
            version_folder: usually `saved_models/NAME/VERSION`.

        Raises:
            InputError: the folder was not written by `laclrec-tf export`.

        Example:
            >>> VersionDescription.read(Path("saved_models/shop/1")).max_length  # doctest: +SKIP
            50
        """
        try:
            about = json.loads((version_folder / METADATA_FILE).read_text(encoding="utf-8"))
            vocabulary = ItemVocabulary.load(version_folder / VOCABULARY_FILE)
            return cls(vocabulary, int(about["max_length"]), frozenset(about.get("signatures", ())))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{version_folder} does not say which items it knows. Give a model that `laclrec-tf export` wrote."
            ) from error


def index_description(index: Mapping[str, Any]) -> str:
    """Describe an index as `metadata.json` records it.

    Args:
        index: `kind`; for partitions also `partitions`, `probes`, `int8`, `recall@20` and `measured_on`.

    Example:
        >>> index_description({"kind": "exact"})
        'exact index'
    """
    if index["kind"] == "exact":
        return "exact index"
    scores = ", scores from int8" if index["int8"] else ""
    return (
        f"partitioned index: {index['probes']} of {index['partitions']} partitions{scores}, "
        f"recall@20 {index['recall@20']:.4f} against exact on {index['measured_on']}"
    )


def index_recall(version_folder: Path) -> float:
    """Return the share of the 20 items with the highest scores that a version's index finds, as its export measured it.

    Args:
        version_folder: the version's folder.

    Returns:
        1 for a version that scores all items, and for one that says nothing of an index.

    Raises:
        InputError: `assets.extra/metadata.json` is damaged.

    Example:
        >>> index_recall(Path("no/such/version"))
        1.0
    """
    file = version_folder / METADATA_FILE
    if not file.is_file():
        return 1.0
    try:
        record = json.loads(file.read_text(encoding="utf-8")).get("metadata")
        index = record.get("index") if isinstance(record, dict) else None  # metadata may be anything
        return float(index["recall@20"]) if isinstance(index, dict) and index.get("kind") == "partitioned" else 1.0
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file} is damaged. Export the model again.") from None


@dataclass(frozen=True)
class ServedItems:
    """What one must know of a model to ask it.

    Args:
        vocabulary: the items.
        max_length: the longest history that the model reads.
        version: the version's number. Default: 1.
        signatures: what may be asked. Default: nothing.

    Example:
        >>> ServedItems(ItemVocabulary(["tent", "stove"]), max_length=50).vocabulary.n_items
        2
    """

    vocabulary: ItemVocabulary
    max_length: int
    version: int = 1
    signatures: frozenset[str] = frozenset()

    @classmethod
    def read(cls, model: Path) -> ServedItems:
        """Read them from the newest version in a model's folder.

        Raises:
            InputError: there is no version, or it was not written by `laclrec-tf export`.
        """
        version, folder = newest_version(model)
        about = VersionDescription.read(folder)
        return cls(about.vocabulary, about.max_length, version, about.signatures)


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
