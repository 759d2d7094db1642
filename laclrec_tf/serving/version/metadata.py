"""What a version says about itself: its items and signatures, its index, and how well it recommends.

`assets.extra/metadata.json` describes the model, and `assets.extra/metrics.json` holds its metrics.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.version.folder import reading, version_folder

METADATA_FILE = Path("assets.extra", "metadata.json")
VOCABULARY_FILE = Path("assets", "vocabulary.txt")
METRICS_FILE = Path("assets.extra", "metrics.json")
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ServedItems:
    """What a caller must know of a version to query it.

    Args:
        vocabulary: the items.
        max_length: length of the longest history that the model reads.
        version: number of the version. Default: 1.
        signatures: names of its signatures. Default: none.
        edits: kind of edits that it mixes its predictions over. Default: "none".
        exclude_history: whether it excludes the items of a history, unless a request says otherwise. Default: True.

    Example:
        >>> ServedItems(ItemVocabulary(["tent", "stove"]), max_length=50).vocabulary.n_items
        2
    """

    vocabulary: ItemVocabulary
    max_length: int
    version: int = 1
    signatures: frozenset[str] = frozenset()
    edits: str = "none"
    exclude_history: bool = True

    @classmethod
    def read(cls, model: Path) -> ServedItems:
        """Read what `export_model` wrote.

        Args:
            model: `saved_models/NAME`, of which the newest version is taken, or one version's folder. A folder that is
                not named by a number counts as version 1.

        Raises:
            InputError: there is no version, it was not written by `laclrec-tf export`, or its vocabulary is cut.

        Example:
            >>> ServedItems.read(Path("saved_models/shop")).max_length  # doctest: +SKIP
            50
        """
        folder = version_folder(model)
        try:
            about = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
            vocabulary = ItemVocabulary.load(folder / VOCABULARY_FILE)
            served = cls(
                vocabulary,
                int(about["max_length"]),
                int(folder.name) if folder.name.isdecimal() else 1,
                frozenset(about.get("signatures", ())),
                _served_edits(about),
                bool(about.get("exclude_history", True)),
            )
            n_items = int(about.get("n_items", vocabulary.n_items))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder} does not say which items it knows. Give a model that `laclrec-tf export` wrote."
            ) from error
        if vocabulary.n_items != n_items:
            raise InputError(
                f"{folder / VOCABULARY_FILE} is damaged: it has {vocabulary.n_items} items in place of {n_items}. "
                "Copy or export the model again."
            )
        return served


def index_description(index: Mapping[str, Any]) -> str:
    """Describe an index in words.

    Args:
        index: the index as `metadata.json` records it: `kind`; for partitions also `partitions`, `probes`, `int8`,
            `recall@20`, `measured_on`, and with mixed predictions `mixed_recall@20`.

    Example:
        >>> index_description({"kind": "exact"})
        'exact index'
    """
    if index["kind"] == "exact":
        return "exact index"
    scores = ", scores from int8" if index["int8"] else ""
    mixed = f", {index['mixed_recall@20']:.4f} with the edits," if "mixed_recall@20" in index else ""
    return (
        f"partitioned index: {index['probes']} of {index['partitions']} partitions{scores}, "
        f"recall@20 {index['recall@20']:.4f}{mixed} against exact on {index['measured_on']}"
    )


def index_recall(version: Path) -> float:
    """Return the share of the 20 items with the highest scores that a version's index finds, as its export measured it.

    Args:
        version: the version's folder.

    Returns:
        The recall; 1 for a version that scores all items, and for one whose index is not recorded.

    Raises:
        InputError: `assets.extra/metadata.json` is damaged.

    Example:
        >>> index_recall(Path("no/such/version"))
        1.0
    """
    if not (version / METADATA_FILE).is_file():
        return 1.0
    with reading(version, METADATA_FILE) as description:
        record = description.get("metadata")
        index = record.get("index") if isinstance(record, dict) else None  # metadata may be anything
        if not isinstance(index, dict) or index.get("kind") != "partitioned":
            return 1.0
        return float(index["mixed_recall@20" if "mixed_recall@20" in index else "recall@20"])


def served_edits(version: Path) -> str:
    """Return the kind of edits that a version mixes its predictions over, "none" if it is not recorded.

    Example:
        >>> served_edits(Path("no/such/version"))
        'none'
    """
    if not (version / METADATA_FILE).is_file():
        return "none"
    with reading(version, METADATA_FILE) as description:
        return _served_edits(description)


def excludes_history(version: Path) -> bool:
    """Return whether a version excludes the items of a history by default, True if it is not recorded.

    Example:
        >>> excludes_history(Path("no/such/version"))
        True
    """
    if not (version / METADATA_FILE).is_file():
        return True
    with reading(version, METADATA_FILE) as description:
        return bool(description.get("exclude_history", True))


def _served_edits(description: Mapping[str, Any]) -> str:
    record = description.get("metadata")
    return str(record.get("served_edits", "none")) if isinstance(record, dict) else "none"


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one split under one protocol.

    Args:
        split: "validation" or "test".
        protocol: the items that held-out items were ranked against, e.g. "full".
        metrics: values by name, e.g. "ndcg@10"; larger is better. None stands for a number that was not finite.
        users: number of evaluated histories. Default: None, not recorded.
        tie_rule: how equal scores were ranked. Default: None, not recorded.
        negatives_seed: seed of the sampled items, for a protocol that samples. Default: None.
    """

    split: str
    protocol: str
    metrics: Mapping[str, float | None] = field(hash=False)
    users: int | None = None
    tie_rule: str | None = None
    negatives_seed: int | None = None

    @property
    def name(self) -> str:
        """Name in messages: evaluations with the same name and data can be compared."""
        seed = "" if self.negatives_seed is None else f", sampled with seed {self.negatives_seed}"
        return f"{self.split}, {self.protocol}{seed}"


@dataclass(frozen=True)
class ModelMetrics:
    """All metrics of a version, and the data they were measured on. Unknown values are None.

    Args:
        data_hash: hash of the prepared data.
        data_counts: numbers of users, items and events of the prepared data.
        trained_on: "strict" or "refit".
        seed: seed of the training.
        preset: preset of the model.
        evaluations: the metrics. Default: none.

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

    def write(self, version: Path) -> None:
        """Write `assets.extra/metrics.json`.

        Args:
            version: the version's folder.
        """
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        file = version / METRICS_FILE
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, version: Path) -> ModelMetrics:
        """Read `assets.extra/metrics.json`.

        Args:
            version: the version's folder.

        Raises:
            InputError: the file is missing or damaged, or has another format version.
        """
        with reading(version, METRICS_FILE) as content:
            if content.pop("format_version") != FORMAT_VERSION:
                raise InputError(
                    f"{version / METRICS_FILE} is of another format version than {FORMAT_VERSION}. "
                    "Export the model again."
                )
            evaluations = tuple(Evaluation(**evaluation) for evaluation in content.pop("evaluations"))
            return cls(**content, evaluations=evaluations)


def finite(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a report as JSON can hold them: None for those that are not finite.

    Args:
        metrics: numbers by name.

    Example:
        >>> finite({"ndcg@10": 0.5, "mrr@10": float("nan")})
        {'ndcg@10': 0.5, 'mrr@10': None}
    """
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
