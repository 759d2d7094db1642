"""The tables of a study: each model's metrics by seed, changes between evaluations, and the augmenters' edits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from laclrec_tf.metrics.ranking import GAINS, ranking_metrics
from laclrec_tf.study.config import StudyConfig, training_name

# Columns of the augmenters' tables: title, and where the augmenter report has the value. Older reports lack some.
AUGMENTER_COLUMNS = (
    ("deletion precision", "deletions", "precision"),
    ("recall", "deletions", "recall"),
    ("at random", "deletions", "recall_at_random"),
    ("AUC, popular noise", "popular_noise", "detection", "augmenter", "auc"),
    ("by popularity", "popular_noise", "detection", "popularity", "auc"),
    ("AUC, last event", "popular_noise", "detection", "augmenter", "auc_last"),
    ("by popularity", "popular_noise", "detection", "popularity", "auc_last"),
    ("insertion hit@1", "insertions", "hit@1"),
    ("at random", "insertions", "hit@1_at_random"),
    ("of the most popular", "insertions", "hit@1_of_most_popular"),
    ("hit@10", "insertions", "hit@10"),
    ("at random", "insertions", "hit@10_at_random"),
    ("of the most popular", "insertions", "hit@10_of_most_popular"),
    ("cosine raw-learned", "views", "cosine_raw_learned"),
    ("raw-random", "views", "cosine_raw_random"),
    ("learned nearer", "views", "learned_is_nearer"),
    ("learned is raw", "views", "learned_is_raw"),
)
PLANTED_COLUMNS = (
    ("planted noise deleted", "planted_noise", "recall"),
    ("other events deleted", "planted_noise", "good_lost"),
    ("precision", "planted_noise", "precision"),
    ("AUC", "planted_noise", "detection", "augmenter", "auc"),
    ("by popularity", "planted_noise", "detection", "popularity", "auc"),
    ("AUC, last event", "planted_noise", "detection", "augmenter", "auc_last"),
    ("by popularity", "planted_noise", "detection", "popularity", "auc_last"),
)


@dataclass(frozen=True)
class Training:
    """One training of a study in one evaluation.

    Args:
        record: Its record, see `laclrec_tf.study.records`.
        report: Report of the evaluation, see `laclrec_tf.evaluation.evaluate.evaluate`.
        ranks: Each user's rank, `[U]` uint8.
    """

    record: dict[str, Any]
    report: dict[str, Any]
    ranks: np.ndarray


@dataclass(frozen=True)
class StudyTable:
    """Results of a study's models on one data set, all strict or all refit, in one evaluation.

    Args:
        data: Name of the data set.
        trained_on: "strict" or "refit".
        evaluation: Name of the evaluation.
        models: Trainings by model, one per seed.
    """

    data: str
    trained_on: str
    evaluation: str
    models: dict[str, list[Training]]

    @property
    def heading(self) -> str:
        """Heading that differs from those of the study's other tables."""
        return f"{self.data}, {self.trained_on}, {self.evaluation}"

    @property
    def trainings(self) -> list[Training]:
        """Trainings of all models."""
        return [training for trainings in self.models.values() for training in trainings]

    def values(self, model: str, metric: str) -> list[float]:
        """Return a model's metric for each seed.

        Args:
            model: Name of the model.
            metric: Name of the metric, e.g. "ndcg@10".
        """
        k = int(metric.partition("@")[2])
        return [
            each.report[metric] if metric in each.report else ranking_metrics(each.ranks, (k,))[metric]
            for each in self.models[model]
        ]

    def protocol(self, model: str) -> str:
        """Return the protocol of a model's evaluation; models that keep the history have another one."""
        return str(self.models[model][0].report.get("protocol", ""))

    def shared_seeds(self, model: str, other: str) -> set[int]:
        """Return the seeds that both models have.

        Args:
            model: Name of a model.
            other: Name of another model.
        """
        ours, theirs = ({training.record["seed"] for training in self.models[name]} for name in (model, other))
        return ours & theirs

    def per_user(self, model: str, seeds: set[int], metric: str) -> np.ndarray:
        """Return each user's mean of a metric over seeds, `[U]` float.

        Args:
            model: Name of the model.
            seeds: Seeds to average over.
            metric: Name of the metric, e.g. "ndcg@10".
        """
        name, _, k = metric.partition("@")
        value = GAINS[name]
        chosen = [training.ranks for training in self.models[model] if training.record["seed"] in seeds]
        return np.mean([value(ranks, int(k)).numpy() for ranks in chosen], axis=0)


def study_tables(
    config: StudyConfig, records: Sequence[dict[str, Any]], ranks: Sequence[dict[str, np.ndarray]]
) -> Iterator[StudyTable]:
    """Yield a study's tables in the order of its file. Tables without an entry are left out.

    Args:
        config: The study.
        records: One record per training.
        ranks: For each record, each user's rank by evaluation, `[U]` uint8.
    """
    for data in config.data:
        for trained_on in ("strict", "refit"):
            for evaluation in config.evaluations:
                models: dict[str, list[Training]] = {}
                for record, its_ranks in zip(records, ranks, strict=True):
                    if (record["data"], record["trained_on"]) == (data, trained_on) and evaluation in its_ranks:
                        training = Training(record, record["evaluations"][evaluation], its_ranks[evaluation])
                        models.setdefault(record["model"], []).append(training)
                if models:
                    yield StudyTable(data, trained_on, evaluation, models)


def mean_and_spread(values: Sequence[float] | np.ndarray, form: str = ".4f") -> str:
    """Format the mean and standard deviation over seeds.

    Args:
        values: One value per seed; NaN for a seed without a value.
        form: Format of the mean; that of the deviation is the same without a sign. Default: ".4f".

    Example:
        >>> mean_and_spread([0.1, 0.3, float("nan")])
        '0.2000 ± 0.1414 (2 of 3)'
    """
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return "–"
    text = f"{np.mean(known):{form}}"
    if len(known) > 1:
        text += f" ± {np.std(known, ddof=1):{form.removeprefix('+')}}"
    return text + (f" ({len(known)} of {len(values)})" if len(known) < len(values) else "")


def changes_between_evaluations(
    config: StudyConfig, tables: dict[str, StudyTable], metrics: Sequence[str]
) -> list[str]:
    """Write the relative change of metrics from an evaluation to one that differs in one way only.

    Evaluations may differ in edits, cleaning, planted noise or histories.

    Args:
        config: The study.
        tables: Tables by evaluation, of one data set, all strict or all refit.
        metrics: Names of metrics, e.g. "recall@10".

    Returns:
        Lines of Markdown; none if there are no such evaluations.
    """
    rows = []
    for name, evaluation in config.evaluations.items():
        defaults: list[dict[str, Any]] = [{"edits": "none"}, {"clean": False}, {"noise": 0.0}, {"histories": {}}]
        plain = [replace(evaluation, **default) for default in defaults]
        plain = [each for each in plain if each != evaluation][:1]
        origins = [other for other, its in config.evaluations.items() if its in plain and other in tables]
        if not origins or name not in tables:
            continue
        origin = origins[0]
        for model in tables[name].models:
            changes = []
            for metric in metrics:
                before, after = (np.array(tables[e].values(model, metric)) for e in (origin, name))
                relative = np.divide(after - before, before, out=np.full_like(before, np.nan), where=before > 0)
                changes.append(mean_and_spread(relative, "+.1%"))
            rows.append(f"| {origin} → {name} | {model} | {' | '.join(changes)} |")
    if not rows:
        return []
    table = next(iter(tables.values()))
    return [
        f"## {table.data}, {table.trained_on}, effect of edits, cleaning, noise and other histories",
        "",
        "Relative change of each training's metric, mean ± standard deviation over seeds.",
        "",
        f"| from → to | model | {' | '.join(metrics)} |",
        "| --- " * (2 + len(metrics)) + "|",
        *rows,
        "",
    ]


def augmenter_section(config: StudyConfig, records: Sequence[dict[str, Any]]) -> list[str]:
    """Write a section per data set about the augmenters of strict trainings.

    Args:
        config: The study.
        records: One record per training.

    Returns:
        Lines of Markdown; none if no augmenter was measured.
    """
    lines: list[str] = []
    for data in config.data:
        measured = [record for record in records if record["data"] == data and record.get("augmenter")]
        if not measured:
            continue
        reports = [record["augmenter"] for record in measured]
        lines += [
            f"## {data}, the augmenter",
            "",
            f"{measured[0]['augmenter']['histories']:,} validation histories; trained strict. Deletions and insertions "
            "are measured on corrupted histories, as in training; views on the histories as they are, and some learned "
            "views are the raw history itself. Precision is the mean over the seeds that delete anything. See "
            "`laclrec-tf augmenter --help`."
            + (" AUC: how well noise is found, 0.5 at random." if any("popular_noise" in r for r in reports) else ""),
            "",
            *_table(measured, AUGMENTER_COLUMNS),
        ]
        if config.truth.get(data):
            lines += _table(measured, PLANTED_COLUMNS)
        shown = next((record for record in measured if record["model"] == config.reference), measured[0])
        lines += _plots(shown, ["operations", "insertions", "views"])
        if config.truth.get(data):
            for model in dict.fromkeys((shown["model"], _best_finder(measured))):
                lines += _plots(next(record for record in measured if record["model"] == model), ["planted_noise"])
    return lines


def _table(measured: Sequence[dict[str, Any]], columns: Sequence[tuple[str, ...]]) -> list[str]:
    columns = [each for each in columns if any(_group(record["augmenter"], each) for record in measured)]
    lines = [
        f"| model | seeds | {' | '.join(title for title, *_ in columns)} |",
        "| --- " * (2 + len(columns)) + "|",
    ]
    for model in dict.fromkeys(record["model"] for record in measured):
        reports = [record["augmenter"] for record in measured if record["model"] == model]
        cells = [
            mean_and_spread([_group(report, column).get(column[-1], float("nan")) for report in reports])
            for column in columns
        ]
        lines.append(f"| {model} | {len(reports)} | {' | '.join(cells)} |")
    return [*lines, ""]


def _group(report: dict[str, Any], column: tuple[str, ...]) -> dict[str, Any]:
    """Return the part of a report that holds a column's value; an older report may lack it."""
    for name in column[1:-1]:
        report = report.get(name, {})
    return report


def _best_finder(measured: Sequence[dict[str, Any]]) -> str:
    """Return the model that deletes the largest share of the planted noise, averaged over its seeds."""
    found: dict[str, list[float]] = {}
    for record in measured:
        found.setdefault(record["model"], []).append(record["augmenter"]["planted_noise"]["recall"])
    return max(found, key=lambda model: np.mean(found[model]))


def _plots(record: dict[str, Any], names: Sequence[str]) -> list[str]:
    folder = f"augmenter/{training_name(record['data'], record['model'], record['seed'], 'strict')}"
    plots = (f"![{name}]({folder}/{name}.png)" for name in names)
    return [f"`{record['model']}`, seed {record['seed']}:", "", *plots, ""]
