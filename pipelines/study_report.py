"""What a study found: tables, paired comparisons and plots."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

from laclrec_tf.models.multi_task_model import RANKING_METRICS
from laclrec_tf.significance import paired_bootstrap
from pipelines.evaluation_changes import changes_between_evaluations
from pipelines.mean_and_spread import mean_and_spread
from pipelines.study_augmenters import augmenter_section
from pipelines.study_config import StudyConfig

COLUMNS = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr@10")
COMPARED = ("recall@10", "ndcg@10", "mrr@10")


def write_report(
    config: StudyConfig,
    records: Sequence[dict[str, Any]],
    ranks: Sequence[dict[str, np.ndarray]],
    out: Path,
    command: str,
) -> None:
    """Write `report.md`, `metrics.csv`, `metrics.png` and `curves.png`.

    Args:
        config: the study.
        records: one a training, as `pipelines.study.run_cell` wrote them.
        ranks: per record and evaluation each user's rank, `[U]` integers.
        out: the study's folder.
        command: how to make the report again.
    """
    tables = list(_tables(config, records, ranks))
    lines = [f"# {config.title}", ""]
    if config.notes:
        lines += [config.notes.strip(), ""]
    lines += [
        f"Made by `{command}`. Mean ± standard deviation over seeds; best epoch and settings by validation ndcg@10.",
        "",
    ]
    for table in tables:
        lines += _section(table, config)
    by_training: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for table in tables:
        by_training.setdefault((table["data"], table["trained_on"]), {})[table["evaluation"]] = table
    for of_training in by_training.values():
        lines += changes_between_evaluations(config, of_training, COMPARED)
    lines += augmenter_section(config, records)
    lines += ["## Validation while training", "", "![ndcg@10 on validation by epoch](curves.png)", ""]
    lines += ["## At a glance", "", "![recall@10 and ndcg@10](metrics.png)", ""]
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")
    _write_csv(records, out / "metrics.csv")
    _plot_metrics(tables, out / "metrics.png")
    _plot_curves(records, out / "curves.png")


def _tables(
    config: StudyConfig, records: Sequence[dict[str, Any]], ranks: Sequence[dict[str, np.ndarray]]
) -> Iterator[dict[str, Any]]:
    """Yield for each data set, way of training and evaluation what its models reached."""
    for data in config.data:
        for trained_on in ("strict", "refit"):
            for evaluation in config.evaluations:
                models: dict[str, list[tuple[dict[str, Any], np.ndarray]]] = {}
                for record, its_ranks in zip(records, ranks, strict=True):
                    if (record["data"], record["trained_on"]) == (data, trained_on) and evaluation in its_ranks:
                        models.setdefault(record["model"], []).append((record, its_ranks[evaluation]))
                if models:
                    yield {"data": data, "trained_on": trained_on, "evaluation": evaluation, "models": models}


def _section(table: dict[str, Any], config: StudyConfig) -> list[str]:
    models = table["models"]
    records = [record for cells in models.values() for record, _ in cells]
    report = records[0]["evaluations"][table["evaluation"]]
    seeds = sorted({record["seed"] for record in records})
    hashes = ", ".join(sorted({record["data_hash"][:12] for record in records}))
    about = [
        f"{report['users']:,} users",
        f"{report['split']} split",
        f"protocol {report['protocol']}",
        f"trained {table['trained_on']}",
        report["tie_rule"],
        f"data hash {hashes}…",
        f"seeds {', '.join(map(str, seeds))}",
    ]
    if "histories" in report:
        about.append(f"histories of {Path(report['histories']).name}")
    if report.get("clean"):
        about.append("histories cleaned by the augmenter")
    lines = [
        f"## {table['data']}, {table['trained_on']}, {table['evaluation']}",
        "",
        "; ".join(about) + ".",
        "",
        "| model | seeds | best epoch | " + " | ".join(COLUMNS) + " |",
        "| --- " * (3 + len(COLUMNS)) + "|",
    ]
    best = {name: max(np.mean(_values(cells, table, name)) for cells in models.values()) for name in COLUMNS}
    for model, cells in models.items():
        epochs = ", ".join(str(record["refit_epochs"] or record["best_epoch"]) for record, _ in cells)
        numbers = []
        for name in COLUMNS:
            values = _values(cells, table, name)
            text = mean_and_spread(values)
            numbers.append(f"**{text}**" if np.mean(values) == best[name] and len(models) > 1 else text)
        lines.append(f"| {model} | {len(cells)} | {epochs} | " + " | ".join(numbers) + " |")
    return [*lines, "", *_comparisons(table, config.reference or next(iter(config.models)))]


def _comparisons(table: dict[str, Any], reference: str) -> list[str]:
    models = table["models"]
    if reference not in models or len(models) < 2:
        return []
    lines = [
        f"`{reference}` against each of the others, paired bootstrap over users (10,000 resamples) of the mean over "
        "the seeds that both have: relative difference, p-value.",
        "",
        "| against | " + " | ".join(COMPARED) + " |",
        "| --- " * (1 + len(COMPARED)) + "|",
    ]
    for model, cells in models.items():
        if model == reference:
            continue
        seeds = {r["seed"] for r, _ in cells} & {r["seed"] for r, _ in models[reference]}
        if not seeds:
            continue
        texts = []
        for name in COMPARED:
            ours, theirs = (_per_user(chosen, seeds, name) for chosen in (models[reference], cells))
            result = paired_bootstrap(ours, theirs)
            relative = result.difference / np.mean(theirs) if np.mean(theirs) else float("nan")
            p_value = f"{result.p_value:.4f}" if result.p_value >= 0.001 else "< 0.001"
            texts.append(f"{relative:+.1%}, p {p_value if p_value[0] == '<' else '= ' + p_value}")
        lines.append(f"| {model} | " + " | ".join(texts) + " |")
    return [*lines, ""]


def _values(cells: Sequence[tuple[dict[str, Any], np.ndarray]], table: dict[str, Any], name: str) -> list[float]:
    return [record["evaluations"][table["evaluation"]][name] for record, _ in cells]


def _per_user(cells: Sequence[tuple[dict[str, Any], np.ndarray]], seeds: set[int], name: str) -> np.ndarray:
    """Return each user's value of a metric, the mean over seeds: `[U]`."""
    metric, k = RANKING_METRICS[name]
    return np.mean([metric(ranks, k).numpy() for record, ranks in cells if record["seed"] in seeds], axis=0)


def _write_csv(records: Sequence[dict[str, Any]], file: Path) -> None:
    names = list(RANKING_METRICS)
    what = ("protocol", "split", "tie_rule", "users", "data_hash")
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["data", "model", "seed", "trained_on", "evaluation", "epochs", "seconds", *what, *names])
        for record in records:
            epochs = record["refit_epochs"] or record["best_epoch"]
            for evaluation, report in record["evaluations"].items():
                writer.writerow(
                    [
                        *(record[name] for name in ("data", "model", "seed", "trained_on")),
                        evaluation,
                        epochs,
                        record["seconds"],
                        *(report[name] for name in (*what, *names)),
                    ]
                )


def _plot_metrics(tables: Sequence[dict[str, Any]], file: Path) -> None:
    figure, axes = plt.subplots(
        len(tables), 2, figsize=(9, 0.6 + sum(0.7 + 0.28 * len(t["models"]) for t in tables)), squeeze=False,
        layout="constrained", height_ratios=[0.7 + 0.28 * len(t["models"]) for t in tables],
    )  # fmt: skip
    for row, table in zip(axes, tables, strict=True):
        names = list(table["models"])[::-1]
        for axis, metric in zip(row, ("recall@10", "ndcg@10"), strict=True):
            values = [_values(table["models"][name], table, metric) for name in names]
            spread = [np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in values]
            axis.barh(names, [np.mean(v) for v in values], xerr=spread, color="tab:blue", alpha=0.7, height=0.7)
            low = min(min(v) for v in values)
            axis.set_xlim(left=max(0.0, low * 0.8))
            axis.set_title(f"{table['data']}, {table['trained_on']}, {table['evaluation']}: {metric}", fontsize=8)
            axis.tick_params(labelsize=7)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def _plot_curves(records: Sequence[dict[str, Any]], file: Path) -> None:
    data_sets = list(dict.fromkeys(record["data"] for record in records))
    models = list(dict.fromkeys(record["model"] for record in records))
    figure, axes = plt.subplots(
        1, len(data_sets), figsize=(5.5 * len(data_sets), 3.6), squeeze=False, layout="constrained"
    )
    for axis, data in zip(axes[0], data_sets, strict=True):
        for index, model in enumerate(models):
            curves = [r["curve"] for r in records if (r["data"], r["model"]) == (data, model) and r["curve"]]
            for number, curve in enumerate(curves):
                label = model if not number else None
                axis.plot(range(1, len(curve) + 1), curve, color=f"C{index % 10}", linewidth=1, label=label)
        axis.set(xlabel="epoch", ylabel="validation ndcg@10", title=data)
        axis.legend(fontsize=7, frameon=False)
    figure.savefig(file, dpi=80)
    plt.close(figure)
