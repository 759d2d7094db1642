"""The model card of a version: the model, its training and evaluation data, its metrics, intended use and limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laclrec_tf.metrics.ranking import served_protocol
from laclrec_tf.serving.version.metadata import Evaluation, ModelMetrics, index_description

MODEL_CARD_FILE = Path("assets.extra", "model_card.md")
NOT_RECORDED = "not recorded"
NOT_MEASURED = "not measured"
PROTOCOLS = {
    "full": "each user's held-out item is ranked against the whole catalogue without the user's history; if it is in "
    "the history, it is missed",
    "full-with-history": "each user's held-out item is ranked against the whole catalogue with the user's history",
    "sampled-99": "each user's held-out item is ranked against 99 sampled items that the user never interacted with",
}
TRAINED_ON = {
    "strict": "each history without its last two items, which are held out for test and validation",
    "refit": "each history without its last item, which is held out for the test",
}
HELD_OUT_BY = {
    "time": "each history without its items from a time on, which are held out",
    "session": "each history without its last sessions, which are held out",
}
INTENDED_USE = """\
To rank the items of a catalogue as the next one after a history of item ids, oldest first: product, media or article
recommendations that a person may ignore. Not for decisions about people, e.g. on credit, work, health or law."""


def model_card(model_name: str, description: Mapping[str, Any], metrics: ModelMetrics) -> str:
    """Write the card. Every number in it comes from the arguments; the card says what is not recorded.

    Args:
        model_name: the model's name on a server.
        description: `signatures`, `n_items`, `n_retired`, `max_length` and `tensorflow` of the version, and under
            `metadata` the record of its training and its `index`, if there is one.
        metrics: metrics of the version.

    Returns:
        Markdown.

    Example:
        >>> described = {"signatures": ["retrieve"], "n_items": 2, "n_retired": 0, "max_length": 50}
        >>> described["tensorflow"] = "2.21.0"
        >>> card = model_card("shop", described, ModelMetrics())
        >>> card.splitlines()[0], "not measured" in card
        ('# shop', True)
    """
    record = _mapping(description.get("metadata"))
    parts = {
        f"# {model_name}": "A sequential recommender made with laclrec_tf, as a SavedModel.",
        "## Model": _facts(_model(description, record, metrics)),
        "## Data": _facts(_data(metrics)),
        "## Protocol": _facts(_protocol(metrics, str(record.get("hold_out", "last")))),
        "## Numbers": _numbers(metrics.evaluations, _excludes_history(description)),
        "## Intended use": INTENDED_USE,
        "## Limits": _limits(description),
        "## Licence": "Apache-2.0, for the model's code and what is exported with it. Data keep their own licence.",
    }
    return "\n\n".join(part for title_and_text in parts.items() for part in title_and_text) + "\n"


def _mapping(value: Any) -> Mapping[str, Any]:
    # Metadata may be anything.
    return value if isinstance(value, Mapping) else {}


def _excludes_history(description: Mapping[str, Any]) -> bool:
    return bool(description.get("exclude_history", True))


def _facts(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {NOT_RECORDED if value is None else value}" for name, value in facts.items())


def _model(description: Mapping[str, Any], record: Mapping[str, Any], metrics: ModelMetrics) -> dict[str, Any]:
    settings = _mapping(record.get("settings"))
    history = "excluded" if _excludes_history(description) else "recommended like others"
    if settings and _excludes_history(description) != _excludes_history(_mapping(settings.get("model"))):
        history += ", unlike in the run"
    made = " ".join(f"{name}={value}" for name, value in sorted(_mapping(settings.get("model")).items()))
    versions = _mapping(record.get("versions")) or {"tensorflow": description["tensorflow"]}
    return {
        "preset": metrics.preset,
        "settings that differ from the preset's": (made or "none") if settings else None,
        "seed": metrics.seed,
        "items in the catalogue": f"{description['n_items']:,}",
        "retired items, read in histories and never recommended": f"{description['n_retired']:,}",
        "index": index_description(index) if (index := _mapping(record.get("index"))) else None,
        "predictions mixed over the edits of a history": record.get("served_edits"),
        "events read of a history": f"the {description['max_length']:,} most recent",
        "items of a history": history,
        "signatures": ", ".join(description["signatures"]),
        "epochs": "none, it is counted"
        if record.get("counted")
        else record.get("refit_epochs") or record.get("best_epoch"),
        "made with": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _data(metrics: ModelMetrics) -> dict[str, Any]:
    counts = metrics.data_counts or {}
    shown = {name: f"{counts[name]:,}" if name in counts else None for name in ("users", "items", "events")}
    return {"hash (SHA-256)": metrics.data_hash, **shown}


def _protocol(metrics: ModelMetrics, hold_out: str) -> dict[str, Any]:
    usual = TRAINED_ON.get(metrics.trained_on or "", metrics.trained_on)
    facts: dict[str, Any] = {"trained on": HELD_OUT_BY.get(hold_out, usual)}
    for evaluation in metrics.evaluations:
        about = PROTOCOLS.get(evaluation.protocol, evaluation.protocol)
        users = "" if evaluation.users is None else f"; {evaluation.users:,} users"
        ties = "" if evaluation.tie_rule is None else f"; {evaluation.tie_rule}"
        facts[f"measured on {evaluation.name}"] = f"{about}{users}{ties}"
    return facts if metrics.evaluations else {**facts, "measured on": NOT_MEASURED}


def _numbers(evaluations: tuple[Evaluation, ...], excludes_history: bool) -> str:
    if not evaluations:
        return f"How well it recommends was {NOT_MEASURED}."
    names = sorted({name for evaluation in evaluations for name in evaluation.metrics}, key=_natural)
    lines = [
        *_of_other_lists(evaluations, excludes_history),
        f"| metric | {' | '.join(evaluation.name for evaluation in evaluations)} |",
        f"| --- |{' ---: |' * len(evaluations)}",
    ]
    for name in names:
        values = (evaluation.metrics.get(name) for evaluation in evaluations)
        cells = [NOT_MEASURED if value is None else f"{value:.4f}" for value in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of_other_lists(evaluations: tuple[Evaluation, ...], excludes_history: bool) -> list[str]:
    """Name the numbers that are not of what the version recommends, in lines above the table."""
    served, other = served_protocol(excludes_history), served_protocol(not excludes_history)
    names = [evaluation.name for evaluation in evaluations if evaluation.protocol == other]
    if not names:
        return []
    does = "excludes the items of a history" if excludes_history else "recommends the items of a history like others"
    note = f"This version {does}. Measured on lists of a version that does not: {'; '.join(names)}."
    if served not in {evaluation.protocol for evaluation in evaluations}:
        note += f" How well this version recommends was {NOT_MEASURED}."
    return [note, ""]


def _natural(name: str) -> tuple[str, int]:
    metric, _, k = name.partition("@")
    return metric, int(k) if k.isdigit() else 0


def _limits(description: Mapping[str, Any]) -> str:
    limits = [
        "The numbers measure how often a held-out item of the past is found. They do not measure the effect of "
        "recommendations.",
        "Items outside the catalogue above are skipped in a history and never recommended.",
        f"Only the {description['max_length']:,} most recent known items of a history are read.",
        "A history without a known item gets the most popular items; their scores cannot be compared with others.",
        "The model learns from past behaviour and repeats it: popular items are recommended more often.",
        "Fairness between groups of people or of suppliers was not measured.",
        "assets.extra/held_out_topk.json holds some histories of the data, without user ids, to check the version.",
    ]
    return "\n".join(f"- {limit}" for limit in limits)
