"""Exporting with partitions: settings, the recall that is measured and stored."""

from __future__ import annotations

import json

import numpy as np
import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.serving import LocalModel
from laclrec_tf.serving.release.export import IndexSettings


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"recall": 0.9}, "settings of `--index partitioned`"),
        ({"n_partitions": 3}, "settings of `--index partitioned`"),
        ({"int8": True}, "settings of `--index partitioned`"),
        ({"kind": "partitioned", "recall": 0.0}, "`recall` must be above 0 and at most 1. Received: recall=0.0"),
        ({"kind": "partitioned", "recall": 1.1}, "`recall` must be above 0 and at most 1. Received: recall=1.1"),
        ({"kind": "partitioned", "n_partitions": 0}, "`n_partitions` .* must be at least 1. Received: 0"),
    ],
)
def test_settings_out_of_range(settings, text):
    with pytest.raises(InputError, match=text):
        IndexSettings(**settings)


def test_a_partitioned_export_says_its_recall_and_answers_nearly_like_the_exact_one(
    sasrec_run, sasrec_export, tmp_path, capsys
):
    arguments = ["--index", "partitioned", "--partitions", "20", "--recall", "0.9", "--int8"]
    with pytest.raises(SystemExit) as status:
        main(["export", str(sasrec_run.folder), "--to", str(tmp_path / "shop"), *arguments])
    assert status.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    metadata = json.loads((tmp_path / "shop" / "1" / "assets.extra" / "metadata.json").read_text())["metadata"]
    assert metadata["data_folder"] == "data"  # no path of this machine
    index = metadata["index"]
    assert index["kind"] == "partitioned" and index["int8"] and 1 <= index["probes"] <= index["partitions"]
    assert 0.9 <= index["recall@20"] <= 1
    assert (
        f"{index['probes']} of {index['partitions']} partitions, scores from int8, recall@20 {index['recall@20']:.4f}"
        in printed
    )

    exact, partitioned = (LocalModel(folder) for folder in (sasrec_export, tmp_path / "shop"))
    _, histories = sasrec_run.data.histories()
    asked = [sasrec_run.vocabulary.to_items(history.tolist()) for history in histories[:64]]
    pairs = list(zip(exact.recommend(asked, k=20), partitioned.recommend(asked, k=20), strict=True))
    assert all(len(found.item_ids) == 20 for _, found in pairs)
    shared = [len(set(best.item_ids) & set(found.item_ids)) for best, found in pairs]
    assert np.mean(shared) > 0.8 * 20
    for best, found in pairs:
        scores = dict(zip(best.item_ids, best.scores, strict=True))
        for item, score in zip(found.item_ids, found.scores, strict=True):
            assert item not in scores or scores[item] == pytest.approx(score, rel=1e-4, abs=1e-5)


def test_too_many_partitions_leave_nothing(sasrec_run, tmp_path, capsys):
    with pytest.raises(SystemExit) as status:
        main(
            [
                "export",
                str(sasrec_run.folder),
                "--to",
                str(tmp_path / "shop"),
                "--index",
                "partitioned",
                "--partitions",
                "1000",
            ]
        )
    assert status.value.code == 2
    assert "`n_partitions` must be between 1 and the" in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()
