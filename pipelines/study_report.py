"""What a study found: tables, paired comparisons and plots."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.metrics.significance import paired_bootstrap
from laclrec_tf.models.ranking_model import RANKING_METRICS
from pipelines.evaluation_changes import changes_between_evaluations
from pipelines.mean_and_spread import mean_and_spread
from pipelines.study_augmenters import augmenter_section
from pipelines.study_config import StudyConfig
from pipelines.study_plots import plot_curves, plot_metrics
from pipelines.study_table import StudyTable, study_tables

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
        ranks: per record and evaluation each user's rank, `[U]` uint8.
        out: the study's folder.
        command: how to make the report again.
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
        lines += changes_between_evaluations(config, of_training, COMPARED)
    lines += augmenter_section(config, records)
    lines += ["## Validation while training", "", "![ndcg@10 on validation by epoch](curves.png)", ""]
    lines += ["## At a glance", "", "![recall@10 and ndcg@10](metrics.png)", ""]
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")
    _write_csv(tables, out / "metrics.csv")
    plot_metrics(tables, out / "metrics.png")
    plot_curves(records, out / "curves.png")


def _section(table: StudyTable, config: StudyConfig) -> list[str]:
    lines = [
        f"## {table.heading}",
        "",
        "; ".join(_measured_how(table)) + ".",
        "",
        "| model | seeds | best epoch | " + " | ".join(COLUMNS) + " |",
        "| --- " * (3 + len(COLUMNS)) + "|",
    ]
    best = {name: max(np.mean(table.values(model, name)) for model in table.models) for name in COLUMNS}
    for model, trainings in table.models.items():
        epochs = ", ".join(str(_epochs(training.record)) for training in trainings)
        numbers = []
        for name in COLUMNS:
            values = table.values(model, name)
            text = mean_and_spread(values)
            numbers.append(f"**{text}**" if np.mean(values) == best[name] and len(table.models) > 1 else text)
        lines.append(f"| {model} | {len(trainings)} | {epochs} | " + " | ".join(numbers) + " |")
    return [*lines, "", *_comparisons(table, config.reference or next(iter(config.models)))]


def _measured_how(table: StudyTable) -> list[str]:
    """Say what numbers are of: without it they cannot be compared with others."""
    report = table.trainings[0].report
    hashes = ", ".join(sorted({training.record["data_hash"][:12] for training in table.trainings}))
    about = [
        f"{report['users']:,} users",
        f"{report['split']} split",
        f"protocol {report['protocol']}",
        f"trained {table.trained_on}",
        report["tie_rule"],
        f"data hash {hashes}…",
        f"seeds {', '.join(map(str, sorted({training.record['seed'] for training in table.trainings})))}",
    ]
    if report["protocol"] == "sampled-99" and "negatives_seed" in report:
        about.append(f"items sampled with seed {report['negatives_seed']}")
    if "histories" in report:
        about.append(f"histories of {Path(report['histories']).name}")
        file_hashes = sorted({str(training.report.get("histories_sha256", "")) for training in table.trainings})
        if all(file_hashes):  # earlier reports have none
            about[-1] += f", SHA-256 {', '.join(each[:12] for each in file_hashes)}…"
    if report.get("clean"):
        about.append("histories cleaned by the augmenter")
    return about


def _comparisons(table: StudyTable, reference: str) -> list[str]:
    if reference not in table.models or len(table.models) < 2:
        return []
    lines = [
        f"`{reference}` against each of the others, paired bootstrap over users (10,000 resamples) of the mean over "
        "the seeds that both have: relative difference, p-value.",
        "",
        "| against | " + " | ".join(COMPARED) + " |",
        "| --- " * (1 + len(COMPARED)) + "|",
    ]
    for model in table.models:
        seeds = table.shared_seeds(reference, model)
        if model == reference or not seeds:
            continue
        texts = []
        for name in COMPARED:
            ours, theirs = (table.per_user(each, seeds, name) for each in (reference, model))
            result = paired_bootstrap(ours, theirs)
            relative = result.difference / np.mean(theirs) if np.mean(theirs) else float("nan")
            p_value = f"= {result.p_value:.4f}" if result.p_value >= 0.001 else "< 0.001"
            texts.append(f"{relative:+.1%}, p {p_value}")
        lines.append(f"| {model} | " + " | ".join(texts) + " |")
    return [*lines, ""]


def _epochs(record: dict[str, Any]) -> int:
    return record["refit_epochs"] or record["best_epoch"]


def _write_csv(tables: Sequence[StudyTable], file: Path) -> None:
    of_record = ("data", "model", "seed", "trained_on")
    of_report = ("protocol", "split", "tie_rule", "users", "data_hash")
    if_any = ("clean", "histories", "histories_sha256", "negatives_seed")
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
