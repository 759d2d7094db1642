"""A run's learning curves, those that its epochs have numbers for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipelines.page_charts import line_chart


@dataclass(frozen=True)
class Chart:
    """A chart for a page.

    Args:
        title: above it.
        note: below the title.
        svg: an `<svg>` element.
    """

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class _Curves:
    title: str
    note: str
    series: Mapping[str, str]  # label by name in the logs
    as_percent: bool = False


_CHARTS = (
    _Curves(
        "Validation quality",
        "dashed: the epoch that was kept",
        {"val_recall@10": "recall@10", "val_ndcg@10": "ndcg@10"},
        as_percent=True,
    ),
    _Curves(
        "Losses",
        "each before its weight",
        {
            "next_item_loss": "next item",
            "contrast_loss": "contrast",
            "triplet_loss": "triplet",
            "augmenter_loss": "augmenter",
            "view_loss": "views",
        },
    ),
    _Curves(
        "Operations on real histories",
        "training histories cut at random; all kept or all deleted is a collapse",
        {"keep_rate": "keep", "delete_rate": "delete", "insert_rate": "insert"},
        as_percent=True,
    ),
    _Curves(
        "Repairs of broken histories",
        "deletions, and missing items that are inserted; validation",
        {
            "val_deletion_precision": "deletion precision",
            "val_deletion_recall": "deletion recall",
            "val_insertion_accuracy": "insertion accuracy",
        },
        as_percent=True,
    ),
    _Curves(
        "Views",
        "dot product with the raw history's user vector",
        {"similarity_raw_learned": "learned view", "similarity_raw_random": "random view"},
    ),
    _Curves(
        "Gradients on the encoder",
        "norm of each weighted term, relative to the next item's",
        {
            "gradient_ratio/contrast_loss": "contrast",
            "gradient_ratio/triplet_loss": "triplet",
            "gradient_ratio/augmenter_loss": "augmenter",
            "gradient_ratio/view_loss": "views",
        },
    ),
)


def learning_curves(epochs: Mapping[str, Mapping[str, list[float]]], best_epoch: int | None) -> list[dict[str, Any]]:
    """Draw the curves of each part of a training.

    Args:
        epochs: of `run_epochs`.
        best_epoch: of the strict training, from 1.

    Returns:
        For each part `title` and `charts`.
    """
    titles = {"strict": "Strict: without the held-out items", "refit": "Refit: with the validation item"}
    return [
        {
            "title": titles[part],
            "charts": [
                Chart(
                    curves.title,
                    curves.note,
                    Markup(
                        line_chart(
                            f"{curves.title}, {part}",
                            series,
                            marked_epoch=best_epoch if part == "strict" and "val_ndcg@10" in curves.series else None,
                            as_percent=curves.as_percent,
                        )
                    ),
                )
                for curves in _CHARTS
                if (series := {label: logged[name] for name, label in curves.series.items() if name in logged})
            ],
        }
        for part, logged in epochs.items()
    ]
