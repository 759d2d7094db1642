"""What the models of a study reached, one table for each data set, way of training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from laclrec_tf.models.ranking_model import RANKING_METRICS
from pipelines.study_config import StudyConfig


@dataclass(frozen=True)
class Training:
    """One training of a study, in one evaluation.

    Args:
        record: what `pipelines.study.run_cell` wrote of it.
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
        records: one a training, as `pipelines.study.run_cell` wrote them.
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
