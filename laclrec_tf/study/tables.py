"""What a study found about augmenters: what they delete and insert, and the plots of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from laclrec_tf.models.ranking_model import RANKING_METRICS
from laclrec_tf.study.config import StudyConfig, training_name

# What an augmenter report says, in the order of the columns.
AUGMENTER_COLUMNS = (
    ("deletion precision", "deletions", "precision"),
    ("at random", "deletions", "precision_at_random"),
    ("recall", "deletions", "recall"),
    ("at random", "deletions", "recall_at_random"),
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
    ("at random", "planted_noise", "precision_at_random"),
)


@dataclass(frozen=True)
class Training:
    """One training of a study, in one evaluation.

    Args:
        record: what `laclrec_tf.study.study.run_cell` wrote of it.
        report: of the evaluation, see `laclrec_tf.evaluation.evaluate.evaluate`.
        ranks: each user's rank in it, `[U]` uint8.
    """

    record: dict[str, Any]
    report: dict[str, Any]
    ranks: np.ndarray


@dataclass(frozen=True)
class StudyTable:
    """What the models of a study reached on one data set, trained one way, in one evaluation.

    Args:
        data: the data set's name.
        trained_on: "strict" or "refit".
        evaluation: its name.
        models: by name their trainings, one a seed.
    """

    data: str
    trained_on: str
    evaluation: str
    models: dict[str, list[Training]]

    @property
    def heading(self) -> str:
        """What tells it from the study's other tables."""
        return f"{self.data}, {self.trained_on}, {self.evaluation}"

    @property
    def trainings(self) -> list[Training]:
        """Of all models."""
        return [training for trainings in self.models.values() for training in trainings]

    def values(self, model: str, metric: str) -> list[float]:
        """Return a metric of each seed.

        Args:
            model: its name.
            metric: such as "ndcg@10".
        """
        return [training.report[metric] for training in self.models[model]]

    def shared_seeds(self, model: str, other: str) -> set[int]:
        """Return the seeds that two models have both.

        Args:
            model: its name.
            other: the other one's.
        """
        ours, theirs = ({training.record["seed"] for training in self.models[name]} for name in (model, other))
        return ours & theirs

    def per_user(self, model: str, seeds: set[int], metric: str) -> np.ndarray:
        """Return each user's value of a metric, the mean over seeds: `[U]` float.

        Args:
            model: its name.
            seeds: those of the model's to take.
            metric: such as "ndcg@10".
        """
        value, k = RANKING_METRICS[metric]
        chosen = [training.ranks for training in self.models[model] if training.record["seed"] in seeds]
        return np.mean([value(ranks, k).numpy() for ranks in chosen], axis=0)


def study_tables(
    config: StudyConfig, records: Sequence[dict[str, Any]], ranks: Sequence[dict[str, np.ndarray]]
) -> Iterator[StudyTable]:
    """Yield a study's tables in the order of its file; one that no model has an entry in is left out.

    Args:
        config: the study.
        records: one a training, as `laclrec_tf.study.study.run_cell` wrote them.
        ranks: per record and evaluation each user's rank, `[U]` uint8.
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
    """Write the mean over seeds and its standard deviation; NaN is a seed without a value.

    Args:
        values: one a seed.
        form: the mean's format; the deviation's is the same without a sign. Default: ".4f".

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
    """Say by how much a metric changes from one evaluation to another that has other histories, or cleans them.

    Args:
        config: the study.
        tables: of one data set and way of training, by evaluation.
        metrics: such as "recall@10".

    Returns:
        Lines of Markdown; none where no two evaluations differ in that alone.
    """
    rows = []
    for name, evaluation in config.evaluations.items():
        undone = replace(evaluation, clean=False) if evaluation.clean else replace(evaluation, histories={})
        origins = [other for other, its in config.evaluations.items() if its == undone and other in tables]
        if undone == evaluation or not origins or name not in tables:
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
        f"## {table.data}, {table.trained_on}, what other histories and cleaning change",
        "",
        "Relative change of each training's metric, mean ± standard deviation over seeds.",
        "",
        f"| from → to | model | {' | '.join(metrics)} |",
        "| --- " * (2 + len(metrics)) + "|",
        *rows,
        "",
    ]


def augmenter_section(config: StudyConfig, records: Sequence[dict[str, Any]]) -> list[str]:
    """Write what the augmenters of strict trainings do, a section a data set.

    Args:
        config: the study.
        records: one a training, as `laclrec_tf.study.study.run_cell` wrote them.

    Returns:
        Lines of Markdown; none where no augmenter was measured.
    """
    lines: list[str] = []
    for data in config.data:
        measured = [record for record in records if record["data"] == data and record.get("augmenter")]
        if not measured:
            continue
        lines += [
            f"## {data}, the augmenter",
            "",
            f"{measured[0]['augmenter']['histories']:,} validation histories, broken as in training (deletions, "
            "insertions) and as they are (views; the learned view of some is the raw history itself); trained strict. "
            "A precision is of the seeds that delete anything. See `laclrec-tf augmenter --help`.",
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


def _table(measured: Sequence[dict[str, Any]], columns: Sequence[tuple[str, str, str]]) -> list[str]:
    lines = [
        f"| model | seeds | {' | '.join(title for title, _, _ in columns)} |",
        "| --- " * (2 + len(columns)) + "|",
    ]
    for model in dict.fromkeys(record["model"] for record in measured):
        reports = [record["augmenter"] for record in measured if record["model"] == model]
        cells = [
            mean_and_spread([report[group].get(name, float("nan")) for report in reports]) for _, group, name in columns
        ]
        lines.append(f"| {model} | {len(reports)} | {' | '.join(cells)} |")
    return [*lines, ""]


def _best_finder(measured: Sequence[dict[str, Any]]) -> str:
    """Return the model that deletes most of the planted noise, in the mean of its seeds."""
    found: dict[str, list[float]] = {}
    for record in measured:
        found.setdefault(record["model"], []).append(record["augmenter"]["planted_noise"]["recall"])
    return max(found, key=lambda model: np.mean(found[model]))


def _plots(record: dict[str, Any], names: Sequence[str]) -> list[str]:
    folder = f"augmenter/{training_name(record['data'], record['model'], record['seed'], 'strict')}"
    plots = (f"![{name}]({folder}/{name}.png)" for name in names)
    return [f"`{record['model']}`, seed {record['seed']}:", "", *plots, ""]
