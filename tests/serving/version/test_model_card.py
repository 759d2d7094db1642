"""The model card: every number is from the record, and missing ones are marked."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from laclrec_tf.serving.version.metadata import Evaluation, ModelMetrics
from laclrec_tf.serving.version.model_card import MODEL_CARD_FILE, model_card

DESCRIPTION = {
    "signatures": ["retrieve", "serving_default"],
    "n_items": 12101,
    "n_retired": 3,
    "max_length": 50,
    "tensorflow": "2.21.0",
    "metadata": {
        "best_epoch": 16,
        "index": {
            "kind": "partitioned",
            "partitions": 118,
            "probes": 40,
            "int8": True,
            "recall@20": 0.98123,
            "measured_on": "512 trained histories",
        },
        "settings": {"preset": "laclrec", "model": {"width": 32, "dropout": 0.5}},
        "versions": {"laclrec-tf": "0.1.0", "keras": "3.15.1"},
    },
}
METRICS = ModelMetrics(
    data_hash="7c4d",
    data_counts={"users": 22362, "items": 12101, "events": 194682},
    trained_on="strict",
    seed=0,
    preset="laclrec",
    evaluations=(
        Evaluation("validation", "full", {"recall@10": 0.12408, "recall@5": 0.08908, "deletion_recall": 0.31}),
        Evaluation("test", "full", {"recall@5": 0.07111, "recall@10": None}, users=22361, tie_rule="a rule"),
    ),
)


@pytest.fixture(scope="module")
def card() -> str:
    return model_card("shop", DESCRIPTION, METRICS)


@pytest.mark.parametrize(
    "line",
    [
        "# shop",
        "- preset: laclrec",
        "- settings that differ from the preset's: dropout=0.5 width=32",
        "- seed: 0",
        "- items in the catalogue: 12,101",
        "- retired items, read in histories and never recommended: 3",
        "- index: partitioned index: 40 of 118 partitions, scores from int8, recall@20 0.9812 against exact on 512 "
        "trained histories",
        "- epochs: 16",
        "- made with: laclrec-tf 0.1.0, keras 3.15.1",
        "- hash (SHA-256): 7c4d",
        "- users: 22,362",
        "- events: 194,682",
        "| metric | validation, full | test, full |",
        "| --- | ---: | ---: |",
        "| deletion_recall | 0.3100 | not measured |",
        "| recall@5 | 0.0891 | 0.0711 |",
        "| recall@10 | 0.1241 | not measured |",
    ],
)
def test_known_facts_are_written(card, line):
    assert line in card.splitlines()


def test_protocol_users_and_ties_are_written(card):
    assert re.search(r"measured on test, full: .* whole catalogue without .*; 22,361 users; a rule", card)
    assert "each history without its last two items" in card


def test_numbers_of_lists_that_the_version_does_not_serve_are_named():
    kept = DESCRIPTION | {"exclude_history": False}
    card = model_card("shop", kept, METRICS)
    assert "- items of a history: recommended like others, unlike in the run" in card.splitlines()
    note = (
        "This version recommends the items of a history like others. Measured on lists of a version that does not: "
        "validation, full; test, full."
    )
    assert f"{note} How well this version recommends was not measured." in card.splitlines()
    measured = replace(
        METRICS, evaluations=(*METRICS.evaluations, Evaluation("test", "full-with-history", {"recall@5": 0.5}))
    )
    assert note in model_card("shop", kept, measured).splitlines()
    other = (
        "This version excludes the items of a history. Measured on lists of a version that does not: test, full-with-"
    )
    assert other in model_card("shop", DESCRIPTION, measured)
    assert "Measured on lists" not in model_card("shop", DESCRIPTION, METRICS)


def test_the_parts_are_in_order(card):
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == [
        "Model",
        "Data",
        "Protocol",
        "Numbers",
        "Intended use",
        "Limits",
        "Licence",
    ]
    assert "Apache-2.0" in card.split("## Licence")[1]


def test_what_is_not_known_is_said_to_be_missing():
    card = model_card("shop", DESCRIPTION | {"metadata": {"settings": "of another kind"}}, ModelMetrics())
    for name in ("preset", "seed", "epochs", "hash (SHA-256)", "users", "items", "events", "trained on"):
        assert f"- {name}: not recorded" in card.splitlines()
    assert "How well it recommends was not measured." in card
    assert "- made with: tensorflow 2.21.0" in card
    # The catalogue, the history and TensorFlow's version are all the numbers there are.
    assert set(re.findall(r"\d[\d,.]*\d", card)) == {"12,101", "50", "2.21.0", "256", "2.0"}


def test_an_export_has_one(exported):
    card = (exported / MODEL_CARD_FILE).read_text(encoding="utf-8")
    assert card.startswith("# shop\n")
    assert "- items in the catalogue: 20" in card
    assert "How well it recommends was not measured." in card
