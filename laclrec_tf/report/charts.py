"""Charts as SVG elements of a page. They use the page's font and its colours, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FuncFormatter, MaxNLocator

matplotlib.use("Agg")

# Placeholder colours that charts do not use otherwise. Each is replaced by a variable of the page's style.
_INK, _LINE = "#010203", "#040506"
_SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06")
_VARIABLES = {_INK: "var(--muted)", _LINE: "var(--line)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, start=1)
}
_PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.3g} %")
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "laclrec-tf",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=_SERIES),
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Chart:
    """A chart of a page.

    Args:
        title: Title above the chart.
        note: Note below the title.
        svg: An `<svg>` element.
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
        "dashed: the selected epoch",
        {"val_recall@10": "recall@10", "val_ndcg@10": "ndcg@10"},
        as_percent=True,
    ),
    _Curves(
        "Losses",
        "without their weights",
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
        "prefixes of training histories; all kept, all deleted, or insertions before most items are a collapse",
        {"keep_rate": "keep", "delete_rate": "delete", "insert_rate": "insert", "cut_rate": "cut off"},
        as_percent=True,
    ),
    _Curves(
        "Repairs of corrupted histories",
        "deletions, and insertions of missing items; validation",
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
        "gradient norm of each weighted loss, relative to that of the next-item loss",
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
        epochs: Result of `run_epochs`.
        best_epoch: Best epoch of the strict training; the first is 1.

    Returns:
        `title` and `charts` of each part.
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


def line_chart(
    name: str,
    series: Mapping[str, Sequence[float]],
    *,
    marked_epoch: int | None = None,
    as_percent: bool = False,
    rates: Sequence[float] | None = None,
) -> str:
    """Draw curves over epochs, of which the first is 1, or over shares of noise.

    Args:
        name: Name of the chart, for screen readers.
        series: Values by label; NaN leaves a gap.
        marked_epoch: Epoch at which a dashed line is drawn. Default: None.
        as_percent: Whether the values are shares. Default: False.
        rates: Shares of noise at which the values were measured. Default: None, they are of epochs.

    Returns:
        An `<svg>` element.
    """
    with plt.rc_context(_STYLE):
        figure, axis = _new()
        for label, values in series.items():
            places = np.arange(1, len(values) + 1) if rates is None else rates
            axis.plot(places, values, label=label, marker="o" if len(values) < 15 else None, markersize=3)
        if marked_epoch is not None:
            axis.axvline(marked_epoch, color=_INK, linestyle="--", linewidth=0.9)
        if rates is None:
            axis.set_xlabel("epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        else:
            axis.set_xlabel("share of noise in the histories")
            axis.xaxis.set_major_formatter(_PERCENT)
            axis.set_ylim(0, None)
        if as_percent:
            axis.yaxis.set_major_formatter(_PERCENT)
        _legend(figure, axis, columns=3 if sum(map(len, series)) < 32 else 2)
        return _svg(figure, name)


def bar_chart(name: str, labels: Sequence[str], values: Sequence[float], errors: Sequence[float]) -> str:
    """Draw shares as horizontal bars, the first on top, with lines that extend two standard errors to each side.

    Args:
        name: Name of the chart, for screen readers.
        labels: One label per bar.
        values: Shares from 0 to 1.
        errors: Standard errors; NaN draws no line.

    Returns:
        An `<svg>` element.
    """
    with plt.rc_context(_STYLE):
        figure, axis = _new(height=0.4 + 0.27 * len(labels))
        places = np.arange(len(labels))
        whiskers = 2 * np.nan_to_num(np.asarray(errors, float))
        axis.barh(places, values, height=0.62, color=_SERIES[0])
        axis.errorbar(values, places, xerr=whiskers, fmt="none", ecolor=_INK, elinewidth=1.0, capsize=2.5)
        axis.set_yticks(places, labels)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.set_xlim(0, None)
        axis.grid(visible=False, axis="y")
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axis.xaxis.set_major_formatter(_PERCENT)
        return _svg(figure, name)


def reliability_chart(name: str, series: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> str:
    """Draw observed shares over predicted probabilities, and the diagonal, where both are equal.

    Args:
        name: Name of the chart, for screen readers.
        series: `(predicted, observed, counts)` by label, `[bins]` each. Bins with larger counts have larger dots.

    Returns:
        An `<svg>` element.
    """
    with plt.rc_context(_STYLE):
        figure, axis = _new(height=3.8)
        axis.plot([0, 1], [0, 1], color=_INK, linestyle="--", linewidth=0.9)
        for colour, (label, (predicted, observed, counts)) in zip(_SERIES, series.items(), strict=False):
            filled = counts > 0
            sizes = 8 + 72 * counts[filled] / max(1, counts.max())
            axis.plot(predicted[filled], observed[filled], color=colour, label=label)
            axis.scatter(predicted[filled], observed[filled], s=sizes, color=colour)
        axis.set(xlabel="predicted probability", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
        for each in (axis.xaxis, axis.yaxis):
            each.set_major_formatter(_PERCENT)
        _legend(figure, axis, columns=1)
        return _svg(figure, name)


def _new(height: float = 2.6) -> tuple[Figure, Axes]:
    return plt.subplots(figsize=(4.4, height), layout="constrained")


def _legend(figure: Figure, axis: Axes, columns: int) -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=columns, fontsize=9)


def _svg(figure: Figure, name: str) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # The charts of a page share one set of ids.
    prefix = re.sub(r"\W+", "-", name.lower())
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\g<1>#{prefix}-", text)
    # The page has its own style and font.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    label = name.replace('"', "")
    return re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg role="img" aria-label="{label}" viewBox="\1">', text)
