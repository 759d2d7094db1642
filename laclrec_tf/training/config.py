"""The settings of a training run: one validated, frozen record, made from `--config` and `--set`."""

from __future__ import annotations

import difflib
import inspect
import json
import typing
from collections.abc import Mapping
from dataclasses import asdict, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic.dataclasses import dataclass

from laclrec_tf.data.corruption import CorruptionNoise
from laclrec_tf.data.random_views import VIEW_KINDS
from laclrec_tf.errors import InputError
from laclrec_tf.files import read_text
from laclrec_tf.models import COUNTED_PRESETS, CountModel, LACLRec, preset_arguments
from laclrec_tf.models.arguments import default_label_smoothing, default_max_edited_length

Positive = Annotated[int, pydantic.Field(ge=1)]
NotNegative = Annotated[int, pydantic.Field(ge=0)]
Seed = Annotated[int, pydantic.Field(ge=0, le=2**32 - 1)]  # NumPy's global generator takes no larger one
ViewKind = Literal["crop", "mask", "reorder", "substitute"]
assert typing.get_args(ViewKind) == VIEW_KINDS
# Settings that records of earlier versions lack, with the values that do what those versions did.
ADDED_SETTINGS: dict[str, Any] = {"exclude_history": True, "corruption_noise": "uniform", "calibration_share": 0.0}
# Defaults that stand for None: with the loss over the whole catalogue, and with `n_negatives`.
DEPENDENT_DEFAULTS: dict[str, tuple[Any, Any]] = {
    "item_initialisation": ("cooccurrence", "random"),
    "averaging_epochs": (1, 0),
    "label_smoothing": (default_label_smoothing(0), default_label_smoothing(1)),
    "max_edited_length": (default_max_edited_length(50), default_max_edited_length(50)),  # or a fifth more, see there
}
# Defaults that `train` takes from the data, see `laclrec_tf.training.setup.settings_of_data`, and what they are.
DATA_DEFAULTS: dict[str, str] = {
    "dropout": "0.1 with many events a weight",
    "exclude_history": "False if the data repeat items",
}
# The settings of a run that a counted preset has, besides the arguments of `CountModel`.
COUNTED_SETTINGS = ("preset", "refit", "seed")


@dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class TrainConfig:
    """Settings of a training run. The defaults of model arguments are those of `LACLRec`'s constructor.

    Args:
        preset: name of a preset in `laclrec_tf.models.PRESETS` or `COUNTED_PRESETS`. Default: "laclrec".
        epochs: max number of epochs. Default: 100.
        patience: number of epochs without a better validation ndcg@10 after which training stops. Default: 8.
        targets_per_batch: approximate number of next-item targets of a batch, see `training_dataset`. Default: 512.
        learning_rate: learning rate of Adam. Default: 2e-3.
        learning_rate_schedule: "constant", or "cosine", which decays from `learning_rate` to 0 over `epochs`.
            Default: "constant".
        warmup_epochs: number of epochs over which the learning rate rises from 0. Default: 0.
        item_initialisation: initial values of the item table: "cooccurrence", vectors that
            `laclrec_tf.data.cooccurrence_vectors` computes from the training histories, or "random". Default:
            "cooccurrence", but "random" with `n_negatives`, because the factorisation takes at least 1 kB an item.
        averaging_epochs: approximate number of epochs over which the weights are averaged for validation and for the
            trained model; 0 uses the weights of the last step. Averaging updates the whole item table at every step.
            Default: 1, but 0 with `n_negatives`.
        pretrain_epochs: number of epochs of pretraining with the augmenter's losses alone. Default: 0.
        prefix_share: share of a history's prefixes that carry the contrastive losses. Default: 0, one random prefix of
            each history.
        random_kinds: kinds of random views: crop, mask, reorder, substitute. Default: the first three.
        corruption_noise: how the items that the augmenter learns to delete are drawn: "uniform", all items alike, or
            "popular", in proportion to their numbers of training events, so that rarity does not tell them. Default:
            "uniform".
        precision: "float32", or "mixed_bfloat16" for products in bfloat16 with weights in float32. Default: float32.
        jit_compile: whether to compile the training step with XLA; batches then have one shape for each bucket of
            lengths. For accelerators. Default: False.
        steps_per_execution: number of training steps for each call from Python. Default: 1.
        refit: whether to train from scratch on everything before the test item, for the best number of epochs.
            Default: False.
        refit_epochs: number of epochs of the refit. Default: None, the best number of a strict training.
        calibration_share: share of the events that is held out of a strict training to calibrate what the model knows
            of noise, see `calibrate`: the newest training event of as many users, 3,000 at most. A tenth of the users
            are taken at least, up to 100, and none below 500 users. At most 0.05; 0
            for no calibration. Default: 0.01.
        seed: seed of weights, batch order, views, corruptions and dropout. Default: 0.
        model: arguments of `LACLRec`, or of `CountModel` for a counted preset, that differ from the preset. Default:
            none. `train` adds what follows from the data, see `laclrec_tf.training.setup.settings_of_data`.

    A counted preset has only `preset`, `refit`, `seed` and `model`.

    Example:
        >>> TrainConfig.of({"preset": "sasrec", "width": 32}).model
        {'width': 32}
    """

    preset: str = "laclrec"
    epochs: Positive = 100
    patience: Positive = 8
    targets_per_batch: Positive = 512
    learning_rate: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 2e-3
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    item_initialisation: Literal["cooccurrence", "random"] | None = None
    averaging_epochs: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] | None = None
    pretrain_epochs: NotNegative = 0
    prefix_share: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    random_kinds: Annotated[tuple[ViewKind, ...], pydantic.Field(min_length=1)] = ("crop", "mask", "reorder")
    corruption_noise: CorruptionNoise = "uniform"
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    jit_compile: bool = False
    steps_per_execution: Positive = 1
    refit: bool = False
    refit_epochs: Positive | None = None
    calibration_share: Annotated[float, pydantic.Field(ge=0, le=0.05)] = 0.01
    seed: Seed = 0
    model: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> TrainConfig:
        """Divide flat settings into run settings and model arguments, and validate both.

        Args:
            settings: values by name, of arguments of this class or of the constructor of the preset's model.

        Raises:
            InputError: a name is unknown (the closest one is suggested), or a value is invalid or changes nothing: for
                a counted preset, also a default that is given.
        """
        run_names = [f.name for f in fields(cls) if f.name != "model"]
        is_counted = settings.get("preset") in COUNTED_PRESETS
        model_types = _model_argument_types(CountModel if is_counted else LACLRec)
        run: dict[str, Any] = {}
        model: dict[str, Any] = {}
        for name, value in settings.items():
            if name in run_names:
                run[name] = value
            elif name in model_types:
                model[name] = _validated(name, value, model_types[name])
            else:
                close = difflib.get_close_matches(str(name), [*run_names, *model_types], n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                command = f"settings --preset {settings['preset']}" if is_counted else "settings"
                raise InputError(f"Unknown setting {name!r}.{hint} `laclrec-tf {command}` lists them.")
        if isinstance(run.get("random_kinds"), str):
            run["random_kinds"] = tuple(kind.strip() for kind in run["random_kinds"].split(","))
        try:
            config = cls(**run, model=model)
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            name = ".".join(str(part) for part in problem["loc"])
            raise InputError(f"Setting {name!r}: {problem['msg']}. Received: {problem['input']!r}.") from None
        arguments = preset_arguments(config.preset) | model
        if is_counted:
            useless = [name for name in run if name not in COUNTED_SETTINGS and run[name] is not None]
            if useless:
                raise InputError(
                    f"Setting {useless[0]!r} changes nothing for the preset {config.preset}, which is counted and not "
                    f"trained. Received: {useless[0]}={run[useless[0]]!r}. Remove it."
                )
        try:
            (_check_counted_arguments if is_counted else _check_model_arguments)(**arguments)
        except ValueError as error:
            raise InputError(str(error).replace("\n", " ")) from None
        if config.refit_epochs is not None and not config.refit:
            raise InputError(
                "Setting 'refit_epochs' changes nothing without a refit. Received: "
                f"refit_epochs={config.refit_epochs}. Remove it, or set refit=true."
            )
        if model.get("beta") and arguments.get("contrast_views") == "random-random":
            raise InputError(
                "Setting 'beta' weighs the triplet loss, which needs a learned view, but contrast_views=random-random "
                f"has none. Received: beta={model['beta']}. Remove it, or set contrast_views=random-learned."
            )
        return config

    @property
    def is_counted(self) -> bool:
        """Whether the preset is counted, so that nothing is trained."""
        return self.preset in COUNTED_PRESETS

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, with model arguments under `model`.

        Example:
            >>> TrainConfig.of({"preset": "bigram", "decay": 0.5}).as_dict()
            {'preset': 'bigram', 'refit': False, 'seed': 0, 'model': {'decay': 0.5}}
        """
        settings = asdict(self)
        return {name: settings[name] for name in (*COUNTED_SETTINGS, "model")} if self.is_counted else settings

    def resolved(self, max_length: int = 50) -> dict[str, Any]:
        """Return all settings as plain values, including those set by the preset, the constructor or other settings.

        Args:
            max_length: max length of a history in the data; `max_edited_length` depends on it. Default: 50.

        Example:
            >>> TrainConfig.of({"preset": "sasrec", "width": 32}).resolved()["model"]["alpha"]
            0.0
        """
        types = _model_argument_types(CountModel if self.is_counted else LACLRec)
        names = setting_names(self.preset) if self.is_counted else setting_names()
        defaults = {name: default for name, default in names.items() if name in types}
        model = defaults | preset_arguments(self.preset) | self.model
        if self.is_counted:
            return self.as_dict() | {"model": model}
        if model["max_edited_length"] is None:
            model["max_edited_length"] = default_max_edited_length(max_length)
        return with_dependent_defaults(self.as_dict() | {"model": model})

    def every_setting(self, max_length: int = 50) -> dict[str, Any]:
        """Return all resolved settings by name, with JSON's types, so that trainings can be compared.

        Args:
            max_length: see `resolved`.

        Example:
            >>> TrainConfig.of({"preset": "sasrec"}).every_setting()["random_kinds"]
            ['crop', 'mask', 'reorder']
        """
        return flat_settings(json.loads(json.dumps(self.resolved(max_length))))


@cache  # a study reads a model's settings again for each training, and building the model takes longest
def _check_model_arguments(**arguments: Any) -> None:
    """Refuse what the constructor refuses. `max_length` is known only from the data."""
    LACLRec(1, max_length=1, **arguments)


def _check_counted_arguments(**arguments: Any) -> None:
    CountModel(1, max_length=1, **arguments)


def dependent_default(name: str, n_negatives: int) -> Any:
    """Return the default of a setting that depends on `n_negatives`.

    Args:
        name: a name in `DEPENDENT_DEFAULTS`.
        n_negatives: the model's number of negatives.

    Example:
        >>> dependent_default("averaging_epochs", n_negatives=0)
        1
    """
    return DEPENDENT_DEFAULTS[name][1 if n_negatives else 0]


def with_dependent_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Replace each None that stands for a dependent default.

    Args:
        settings: settings as returned by `TrainConfig.resolved`, with model arguments under `model`.

    Example:
        >>> with_dependent_defaults({"averaging_epochs": None, "model": {"n_negatives": 256}})
        {'averaging_epochs': 0, 'model': {'n_negatives': 256}}
    """
    n_negatives = settings["model"].get("n_negatives", 0)  # a study's record may be older than the setting

    def filled(part: dict[str, Any]) -> dict[str, Any]:
        missing = [name for name in part.keys() & DEPENDENT_DEFAULTS if part[name] is None]
        return part | {name: dependent_default(name, n_negatives) for name in missing}

    return filled(settings) | {"model": filled(settings["model"])}


def flat_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings in the flat form of `TrainConfig.of`.

    Args:
        settings: settings with model arguments under `model`.

    Example:
        >>> flat_settings({"seed": 0, "model": {"width": 32}})
        {'seed': 0, 'width': 32}
    """
    return {name: value for name, value in settings.items() if name != "model"} | settings["model"]


def setting_names(preset: str = "laclrec") -> dict[str, Any]:
    """Return the names of all settings that `--set` accepts, with their defaults, which a preset may replace.

    Args:
        preset: a preset; counted ones have other settings. Default: "laclrec".

    Example:
        >>> setting_names()["width"]
        64
        >>> list(setting_names("item-knn"))
        ['preset', 'refit', 'seed', 'n_last', 'decay', 'max_distance', 'n_neighbours', 'discount', 'exclude_history']
    """
    is_counted = preset in COUNTED_PRESETS
    kind = CountModel if is_counted else LACLRec
    run = {f.name: f.default for f in fields(TrainConfig) if f.name != "model"}
    run = {name: run[name] for name in COUNTED_SETTINGS} if is_counted else run
    parameters = inspect.signature(kind.__init__).parameters
    return run | {name: parameters[name].default for name in _model_argument_types(kind)}


class _Loader(yaml.SafeLoader):
    """Reads YAML, but refuses a name that a mapping has twice: YAML's own loader would use the last value."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node."""
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # a date that does not exist
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the values of a mapping by name."""
        lines: dict[str, int] = {}
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                continue
            if name.value in lines:
                problem = f"{name.value!r} is on line {lines[name.value]} already"
                raise yaml.constructor.ConstructorError(None, None, problem, name.start_mark)
            lines[name.value] = name.start_mark.line + 1
        return super().construct_mapping(node, deep)


def read_settings(file: str | Path) -> dict[str, Any]:
    """Read flat settings from a YAML or JSON file.

    Raises:
        InputError: the file is missing, cannot be parsed, names a setting twice, or is not a mapping of names to
            values. The message names the line.
    """
    text = read_text(file)
    if text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # JSON may be indented with tabs, which YAML refuses
    try:
        settings = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"The settings file {file} is not valid YAML{_place_and_problem(text, error)}.") from None
    if not isinstance(settings, dict):
        raise InputError(f"The settings file {file} must have lines like `width: 64`.")
    return settings


def _place_and_problem(text: str, error: yaml.YAMLError) -> str:
    mark, position = getattr(error, "problem_mark", None), getattr(error, "position", None)
    line = text.count("\n", 0, position) if isinstance(position, int) else getattr(mark, "line", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f": {problem}" if line is None else f", line {line + 1}: {problem}"


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Convert `["width=32", "decision=gumbel"]` to values by name.

    Raises:
        InputError: an entry is not `key=value`.

    Example:
        >>> parse_assignments(["width=32", "learning_rate=1e-3"])
        {'width': 32, 'learning_rate': 0.001}
    """
    settings = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name or not value:
            raise InputError(f"`--set` must be key=value. Received: {assignment!r}.")
        try:
            settings[name.strip()] = float(value) if _is_float(value) else yaml.load(value, _Loader)
        except yaml.YAMLError:
            settings[name.strip()] = value
    return settings


def _is_float(text: str) -> bool:
    # YAML 1.1 reads 1e-3 as a string.
    try:
        float(text)
    except ValueError:
        return False
    return not text.strip().lstrip("+-").isdigit()


def _model_argument_types(kind: type[LACLRec] | type[CountModel] = LACLRec) -> dict[str, Any]:
    hints = typing.get_type_hints(kind.__init__)
    skipped = ("return", "kwargs", "n_items", "seed", "max_length")  # they are set by the data or by the run
    return {name: hint for name, hint in hints.items() if name not in skipped}


def _validated(name: str, value: Any, hint: Any) -> Any:
    try:
        return pydantic.TypeAdapter(hint).validate_python(value, strict=hint is bool)
    except pydantic.ValidationError as error:
        raise InputError(f"Setting {name!r}: {error.errors()[0]['msg']}. Received: {value!r}.") from None
