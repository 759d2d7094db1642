"""Write the report of a study: tables, paired comparisons and plots."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from laclrec_tf.metrics.significance import paired_bootstrap
from laclrec_tf.models.ranking_model import RANKING_METRICS
from laclrec_tf.study.config import StudyConfig
from laclrec_tf.study.tables import (
    StudyTable,
    augmenter_section,
    changes_between_evaluations,
    mean_and_spread,
    study_tables,
)

matplotlib.use("Agg")

# A large study has more than ten models, so line styles vary as well.
LINES = [(style, f"C{number}") for style, number in product(("-", "--", ":"), range(10))]


def write_report(
    config: StudyConfig,
    records: Sequence[dict[str, Any]],
    ranks: Sequence[dict[str, np.ndarray]],
    out: Path,
    command: str,
) -> None:
    """Write `report.md`, `metrics.csv`, `metrics.png` and `curves.png`.

    Args:
        config: The study.
        records: One record per training.
        ranks: For each record, each user's rank by evaluation, `[U]` uint8.
        out: The study's folder.
        command: Command that makes the study.
    """
    tables = list(study_tables(config, records, ranks))
    lines = [f"# {config.title}", ""]
    if config.notes:
        lines += [config.notes.strip(), ""]
    lines += [
        f"Made by `{command}`. Mean ± standard deviation over seeds; best epoch and settings by validation ndcg@10.",
        "",
    ]
    for table in tables:
        lines += _section(table, config)
    by_training: dict[tuple[str, str], dict[str, StudyTable]] = {}
    for table in tables:
        by_training.setdefault((table.data, table.trained_on), {})[table.evaluation] = table
    for of_training in by_training.values():
        lines += changes_between_evaluations(config, of_training, config.compared)
    lines += augmenter_section(config, records)
    lines += ["## Validation during training", "", "![ndcg@10 on validation by epoch](curves.png)", ""]
    lines += ["## At a glance", "", "![recall@10 and ndcg@10](metrics.png)", ""]
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")
    _write_csv(tables, out / "metrics.csv")
    plot_metrics(tables, out / "metrics.png")
    plot_curves(records, out / "curves.png")


def _section(table: StudyTable, config: StudyConfig) -> list[str]:
    lines = [
        f"## {table.heading}",
        "",
        "; ".join(_conditions(table)) + ".",
        "",
        "| model | seeds | best epoch | " + " | ".join(config.metrics) + " |",
        "| --- " * (3 + len(config.metrics)) + "|",
    ]
    best = {name: max(np.mean(table.values(model, name)) for model in table.models) for name in config.metrics}
    # Numbers of different protocols are never compared.
    has_one_protocol = len({table.protocol(model) for model in table.models}) == 1
    shows_best = has_one_protocol and len(table.models) > 1
    for model, trainings in table.models.items():
        epochs = ", ".join(str(_epochs(training.record)) for training in trainings)
        name_shown = model if has_one_protocol else f"{model} ({table.protocol(model)})"
        numbers = []
        for name in config.metrics:
            values = table.values(model, name)
            text = mean_and_spread(values)
            numbers.append(f"**{text}**" if np.mean(values) == best[name] and shows_best else text)
        lines.append(f"| {name_shown} | {len(trainings)} | {epochs} | " + " | ".join(numbers) + " |")
    return [*lines, "", *_comparisons(table, config.reference or next(iter(config.models)), config.compared)]


def _conditions(table: StudyTable) -> list[str]:
    """Return the conditions of a measurement. Only numbers with the same conditions can be compared."""
    report = table.trainings[0].report
    hashes = ", ".join(sorted({training.record["data_hash"][:12] for training in table.trainings}))
    about = [
        f"{report['users']:,} users",
        f"{report['split']} split",
        f"protocol {' or '.join(sorted({training.report['protocol'] for training in table.trainings}))}",
        f"trained {table.trained_on}",
        *([f"held out by {report['hold_out']}"] if "hold_out" in report else []),
        report["tie_rule"],
        f"data hash {hashes}…",
        f"seeds {', '.join(map(str, sorted({training.record['seed'] for training in table.trainings})))}",
    ]
    if report["protocol"] == "sampled-99" and "negatives_seed" in report:
        about.append(f"items sampled with seed {report['negatives_seed']}")
    if "histories" in report:
        about.append(f"histories of {Path(report['histories']).name}")
        file_hashes = sorted({str(training.report.get("histories_sha256", "")) for training in table.trainings})
        if all(file_hashes):  # earlier reports lack them
            about[-1] += f", SHA-256 {', '.join(each[:12] for each in file_hashes)}…"
    if report.get("clean"):
        about.append("histories cleaned by the augmenter")
    kinds = sorted({str(training.report.get("edits", "none")) for training in table.trainings} - {"none"})
    if kinds:
        about.append(f"predictions mixed over edits: {', '.join(kinds)}")
    if report.get("noise"):
        about.append(f"{report['noise']:.0%} of the events planted noise, drawn by popularity")
    records = [training.record for training in table.trainings]
    diverged = [f"`{each['model']}` seed {each['seed']}" for each in records if each.get("diverged")]
    if diverged:  # earlier records do not say it
        about.append(f"stopped by a value that is not finite, at the best epoch before: {', '.join(diverged)}")
    return about


def _comparisons(table: StudyTable, reference: str, metrics: Sequence[str]) -> list[str]:
    if reference not in table.models or len(table.models) < 2:
        return []
    lines = [
        f"`{reference}` compared with each other model, on the mean over the seeds that both have: relative difference "
        "and p-value of a paired bootstrap over users (10,000 resamples).",
        "",
        "| compared with | " + " | ".join(metrics) + " |",
        "| --- " * (1 + len(metrics)) + "|",
    ]
    for model in table.models:
        seeds = table.shared_seeds(reference, model)
        if model == reference or not seeds or table.protocol(model) != table.protocol(reference):
            continue
        texts = []
        for name in metrics:
            ours, theirs = (table.per_user(each, seeds, name) for each in (reference, model))
            result = paired_bootstrap(ours, theirs)
            relative = result.difference / np.mean(theirs) if np.mean(theirs) else float("nan")
            p_value = f"= {result.p_value:.4f}" if result.p_value >= 0.001 else "< 0.001"
            texts.append(f"{relative:+.1%}, p {p_value}")
        lines.append(f"| {model} | " + " | ".join(texts) + " |")
    return [*lines, ""]


def _epochs(record: dict[str, Any]) -> int | str:
    return record["refit_epochs"] or record["best_epoch"] or "–"  # a counted model has none


def _write_csv(tables: Sequence[StudyTable], file: Path) -> None:
    of_record = ("data", "model", "seed", "trained_on")
    of_report = ("protocol", "split", "tie_rule", "users", "data_hash")
    if_any = ("clean", "edits", "noise", "histories", "histories_sha256", "negatives_seed")
    metrics = list(RANKING_METRICS)
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([*of_record, "evaluation", "epochs", "seconds", *of_report, *if_any, *metrics])
        for table in tables:
            for record, report in ((training.record, training.report) for training in table.trainings):
                writer.writerow(
                    [
                        *(record[name] for name in of_record),
                        table.evaluation,
                        _epochs(record),
                        record["seconds"],
                        *(report[name] for name in of_report),
                        *(report.get(name, "") for name in if_any),
                        *(report[name] for name in metrics),
                    ]
                )


def plot_metrics(tables: Sequence[StudyTable], file: Path) -> None:
    """Plot the mean and standard deviation over seeds of recall@10 and ndcg@10, one row per table.

    Args:
        tables: The study's tables.
        file: PNG file to write.
    """
    heights = [0.7 + 0.22 * len(table.models) for table in tables]
    figure, axes = plt.subplots(
        len(tables), 2, figsize=(9, 0.6 + sum(heights)), squeeze=False, layout="constrained", height_ratios=heights
    )
    for row, table in zip(axes, tables, strict=True):
        names = list(table.models)[::-1]
        for axis, metric in zip(row, ("recall@10", "ndcg@10"), strict=True):
            values = [table.values(name, metric) for name in names]
            spread = [np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in values]
            # Dots instead of bars, because the axes do not begin at 0.
            axis.errorbar([np.mean(v) for v in values], names, xerr=spread, fmt="o", markersize=4, capsize=2)
            axis.set_ylim(-0.6, len(names) - 0.4)
            axis.set_title(f"{table.heading}: {metric}", fontsize=8)
            axis.tick_params(labelsize=7)
            axis.grid(axis="x", alpha=0.3)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def plot_curves(records: Sequence[dict[str, Any]], file: Path) -> None:
    """Plot ndcg@10 on validation by epoch: one panel per data set, one line per strict training.

    Args:
        records: One record per training.
        file: PNG file to write.
    """
    data_sets = list(dict.fromkeys(record["data"] for record in records))
    models = list(dict.fromkeys(record["model"] for record in records))
    figure, axes = plt.subplots(
        1, len(data_sets), figsize=(5.5 * len(data_sets) + 2, 3.6), squeeze=False, layout="constrained"
    )
    for axis, data in zip(axes[0], data_sets, strict=True):
        for index, model in enumerate(models):
            style, colour = LINES[index % len(LINES)]
            curves = [r["curve"] for r in records if (r["data"], r["model"]) == (data, model) and r["curve"]]
            for number, curve in enumerate(curves):
                label = model if not number else None
                axis.plot(range(1, len(curve) + 1), curve, style, color=colour, linewidth=1, label=label)
        axis.set(xlabel="epoch", ylabel="validation ndcg@10", title=data)
    if any(axis.lines for axis in axes[0]):
        axes[0, -1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(file, dpi=80)
    plt.close(figure)
