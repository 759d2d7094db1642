"""What the main classes show of themselves at a prompt: one short line, whatever they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from laclrec_tf.data.batches import FlatHistories
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.simulated import simulate
from laclrec_tf.data.user_histories import UserHistories
from laclrec_tf.evaluation.augmenter_repairs import Repairs
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.metrics.groups import Groups
from laclrec_tf.models import LACLRec, build_preset
from laclrec_tf.recommender_tables import HistoryTable
from laclrec_tf.report.measure import HeldOutUsers
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving import HistoryVectors, ItemVectors, ModelServer, RetrievalClient
from laclrec_tf.serving.release.blessing import HeldOutItems
from laclrec_tf.serving.retriever.partitioned_index import Partitions
from laclrec_tf.serving.server.served_model import ServedModel
from laclrec_tf.serving.version.held_out_topk import HeldOutHistories

VOCABULARY = ItemVocabulary(["tent", "stove", "rope", "mug"])


def test_data():
    assert repr(VOCABULARY) == "ItemVocabulary(4 items: 'tent', 'stove', 'rope', ...)"
    counts = {"users": 1200, "items": 4, "events": 5000}
    data = PreparedData(Path("shop"), VOCABULARY, (), 50, "hash", counts, {})
    assert repr(data) == "PreparedData('shop': 1,200 users, 4 items, 5,000 events, the last 50 of a user)"
    data = PreparedData(Path("shop"), VOCABULARY, (), 50, "hash", counts, {"window": "sliding"})
    assert repr(data) == "PreparedData('shop': 1,200 users, 4 items, 5,000 events, all in windows of 50 of a user)"
    assert repr(FlatHistories([np.array([5, 6, 7]), np.array([8])])) == "FlatHistories(2 histories, 4 items in all)"
    table = pl.DataFrame({"history": [["tent", "rope"], ["mug"]]})
    assert repr(HistoryTable.read(table)) == "HistoryTable(2 histories, 3 items in all)"
    assert repr(UserHistories(["ann"], [["tent", "rope"]], "f")) == "UserHistories(1 users, 2 events)"
    simulation = simulate(n_users=20, n_items=24, noise=0.0)
    events, items = simulation.events.height, simulation.events["item_id"].n_unique()
    assert repr(simulation) == f"Simulation({events} events of 20 users with {items} items, 0 are noise)"


def test_models():
    # The preset's own arguments and those given, none of the defaults.
    shown = "LACLRec(n_items=4, width=8, alpha=0.0, beta=0.0, lambda_aug=0.0)"
    assert repr(build_preset("sasrec", n_items=4, width=8)) == shown
    assert repr(LACLRec(n_items=4)) == "LACLRec(n_items=4)"


def test_runs_and_measurements(tmp_path):
    VOCABULARY.save(tmp_path / "vocabulary.txt")
    record = {"settings": {"preset": "sasrec", "seed": 3}, "trained_on": "strict"}
    assert repr(RunFolder(tmp_path, record)) == f"RunFolder('{tmp_path}': sasrec, 4 items, trained strict, seed 3)"
    ranks = np.zeros(3, np.int32)
    users = HeldOutUsers(["a", "b", "c"], [], ranks, ranks, np.zeros((3, 10)), n_all=500, exclude_history=True)
    assert repr(users) == "HeldOutUsers(3 of 500 users, 10 items for each)"
    assert repr(Groups(("few", "many"), np.zeros(9, int))) == "Groups(9 rows in few, many)"
    assert repr(Repairs(np.zeros((5, 3)), ranks, np.zeros(5), ranks)) == "Repairs(5 events, 3 missing items)"


def test_serving(tmp_path):
    assert repr(HistoryVectors(np.zeros([2, 64]), (0, 1))) == "HistoryVectors(2 histories, 64 dimensions)"
    assert repr(ItemVectors(np.zeros([2, 8]), (True, False))) == "ItemVectors(2 items, 1 of them unknown, 8 dimensions)"
    assert repr(ItemVectors(np.zeros([1, 8]), (True,))) == "ItemVectors(1 items, 8 dimensions)"
    assert repr(Partitions(np.zeros([4, 8]), np.zeros([4, 30]))) == "Partitions(4 of 8 dimensions, up to 30 items each)"
    assert repr(HeldOutHistories("made up", [["tent"]])) == "HeldOutHistories(1 histories, made up)"
    assert repr(HeldOutItems("shop", [["tent"]], ["mug"])) == "HeldOutItems(1 users, shop)"
    with RetrievalClient("127.0.0.1:8500", "shop", version_label="stable") as client:
        assert repr(client) == "RetrievalClient('127.0.0.1:8500', 'shop', version stable)"
    assert repr(ModelServer("shop", tmp_path, port=0)) == "ModelServer(shop: not running)"
    model = ServedModel(ModelConfig(name="shop", base_path=str(tmp_path)))
    assert repr(model) == f"ServedModel('shop' in '{tmp_path}': no version)"
