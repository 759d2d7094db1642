"""The study file: models, seeds, data sets and evaluations to compare, in YAML or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic.dataclasses import dataclass

from laclrec_tf.errors import InputError
from laclrec_tf.training.config import TrainConfig, read_settings

_STRICT = pydantic.ConfigDict(extra="forbid")
METRICS = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr@10")
COMPARED = ("recall@10", "ndcg@10", "mrr@10")
MetricName = pydantic.constr(pattern=r"^(recall|ndcg|mrr)@([1-9]|1[0-9]|20)$")  # a record keeps the first 20 places
Name = pydantic.constr(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$")


@dataclass(frozen=True, config=_STRICT)
class Evaluation:
    """One way to evaluate every run, see `laclrec_tf.evaluation.evaluate.evaluate`.

    Args:
        protocol: "full", "full-with-history" or "sampled-99". Default: as each run recommends, see `evaluate`.
        histories: File of histories by data set, used instead of the data set's own. Data sets without a file are left
            out. Default: none; every data set uses its own histories.
        clean: Whether the augmenter edits each history before recommending; models without an augmenter are left out.
            Default: False.
        edits: "none", "uniform", "learned" or "chosen", see `evaluate`. Default: "none", so that models are compared as
            such; models that were not calibrated are left out of "uniform" and "learned".
        noise: Share of foreign items to plant in the histories, see `evaluate`. Default: 0.
    """

    protocol: Literal["full", "full-with-history", "sampled-99"] | None = None
    histories: dict[str, str] = field(default_factory=dict)
    clean: bool = False
    edits: Literal["none", "uniform", "learned", "chosen"] = "none"
    noise: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0

    def suits(self, has_augmenter: bool, is_calibrated: bool) -> bool:
        """Return whether a model can be evaluated so."""
        return (has_augmenter or not self.clean) and (is_calibrated or self.edits in ("none", "chosen"))

    def leaves_out(self, data: str) -> bool:
        """Return whether a data set has no histories for this evaluation.

        Example:
            >>> Evaluation(histories={"beauty": "noisy.csv"}).leaves_out("sports")
            True
        """
        return bool(self.histories) and data not in self.histories


@dataclass(frozen=True, config=_STRICT)
class StudyConfig:
    """Data sets, models, seeds and evaluations of a study.

    Args:
        data: Folder made by `laclrec-tf prepare` for each name of a data set.
        models: Settings as in `train --config`, including `preset`, for each name of a model.
        seeds: Seeds to train each model with. Default: 0.
        split: Split to evaluate on: "test", or "validation" for studies that choose settings. Default: "test".
        refit: Names of models that are also trained from scratch on everything before the test item. Default: none.
        evaluations: Evaluations by name. Default: "full".
        augmenter: Whether to measure the augmenter of each strict run, see
            `laclrec_tf.evaluation.augmenter_report`. Default: False.
        truth: For `augmenter`: the `.truth.csv` file of each data set of simulated events. Default: none.
        metrics: Columns of the report, such as "recall@1" or "mrr@20": recall, ndcg or mrr at 1 to 20. Default: seven
            columns; the models are then compared in recall@10, ndcg@10 and mrr@10, else in all columns.
        reference: Name of the model that the others are compared with. Default: the first.
        title: Heading of the report. Default: the file's name.
        notes: Markdown text at the start of the report. Default: none.
    """

    data: dict[Name, str]  # type: ignore[valid-type]
    models: dict[Name, dict[str, Any]]  # type: ignore[valid-type]
    seeds: list[pydantic.NonNegativeInt] = field(default_factory=lambda: [0])
    split: Literal["test", "validation"] = "test"
    refit: list[str] = field(default_factory=list)
    evaluations: dict[Name, Evaluation] = field(default_factory=lambda: {"full": Evaluation()})  # type: ignore[valid-type]
    augmenter: bool = False
    truth: dict[str, str] = field(default_factory=dict)
    metrics: Annotated[list[MetricName], pydantic.Field(min_length=1)] = field(default_factory=lambda: list(METRICS))  # type: ignore[valid-type]
    reference: str = ""
    title: str = ""
    notes: str = ""

    @classmethod
    def read(cls, file: Path, *, to_train: bool = True) -> StudyConfig:
        """Read and validate a study file.

        Args:
            file: YAML or JSON file.
            to_train: Whether to check the models' settings. A report of finished trainings does not need them, and
                they may be of an earlier version. Default: True.

        Raises:
            InputError: The file cannot be read, a name is unknown, or a model's settings are wrong.
        """
        content = read_settings(file)
        try:
            study = cls(**({"title": file.stem} | content))
        except (pydantic.ValidationError, TypeError) as error:
            text = str(error)
            if isinstance(error, pydantic.ValidationError):
                problem = error.errors()[0]
                text = f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}. Received: {problem['input']!r}"
            raise InputError(f"The study file {file}: {text}.") from None
        for what in ("data", "models", "seeds", "evaluations"):
            if not getattr(study, what):
                raise InputError(f"The study file {file}: `{what}` must name at least one. Received: none.")
        for name in [*study.refit, *([study.reference] if study.reference else [])]:
            if name not in study.models:
                raise InputError(f"The study file {file}: no model {name!r}. Models: {', '.join(study.models)}.")
        if study.refit and study.split == "validation":
            raise InputError(f"The study file {file}: a refit has seen the validation items; use `split: test`.")
        for name in study.truth:
            if name not in study.data or not study.augmenter:
                why = "which takes `augmenter: true`" if name in study.data else f"data sets: {', '.join(study.data)}"
                raise InputError(f"The study file {file}: `truth` names {name!r}, {why}.")
        for name, evaluation in study.evaluations.items():
            if strange := evaluation.histories.keys() - study.data.keys():
                raise InputError(
                    f"The study file {file}: `histories` of evaluation {name!r} names {min(strange)!r}, "
                    f"data sets: {', '.join(study.data)}."
                )
        if len(set(study.seeds)) < len(study.seeds):
            raise InputError(f"The study file {file}: `seeds` must differ. Received: {study.seeds}.")
        named: dict[str, str] = {}
        for data, model in product(study.data, study.models):
            if to_train:
                study.settings_of(model, 0)  # refused here, not hours later
            other = named.setdefault(training_name(data, model, 0, "strict"), f"{model!r} on {data!r}")
            if other != f"{model!r} on {data!r}":
                raise InputError(
                    f"The study file {file}: {other} and {model!r} on {data!r} would have the same files. "
                    "Rename one of them."
                )
        return study

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics in which models are compared."""
        return COMPARED if tuple(self.metrics) == METRICS else tuple(self.metrics)

    def trainings(self) -> Iterator[tuple[str, str, int, str]]:
        """Yield data set, model, seed and "strict" or "refit" of each training, in the order of the report."""
        for data, seed, model in product(self.data, self.seeds, self.models):
            for trained_on in ("strict", "refit") if model in self.refit else ("strict",):
                yield data, model, seed, trained_on

    def settings_of(self, model: str, seed: int) -> TrainConfig:
        """Return the validated settings of one model with one seed.

        Raises:
            InputError: A setting is unknown or out of range.
        """
        try:
            config = TrainConfig.of(self.models[model] | {"seed": seed})
        except InputError as error:
            raise InputError(f"Model {model!r} of the study: {error}") from None
        if config.refit or config.refit_epochs:
            raise InputError(f"Model {model!r} of the study: name it under `refit` of the study, not in its settings.")
        return config


def training_name(data: str, model: str, seed: int, trained_on: str) -> str:
    """Return the name of one training's files.

    Example:
        >>> training_name("beauty", "no triplet", 0, "strict")
        'beauty--no_triplet--seed-0--strict'
    """
    return f"{data}--{model}--seed-{seed}--{trained_on}".replace(" ", "_")
