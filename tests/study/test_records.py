"""A study in one compact file: the same bytes each time, and the same folder when it is unpacked."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from laclrec_tf.errors import InputError
from laclrec_tf.study.records import pack_study, result_file, unpack_study, write_result
from laclrec_tf.study.study import report_study

METRICS = {f"{name}@{k}": 0.25 for name in ("recall", "mrr", "ndcg") for k in (5, 10, 20)}
REPORT = {"users": 3, "split": "test", "protocol": "full", "tie_rule": "ties", "data_hash": "abcdef", **METRICS}
EVALUATIONS = {("d", "a"): ("full", "c.1"), ("d", "b"): ("full",), ("e", "a"): ("full",)}


@pytest.fixture
def study(tmp_path) -> tuple[Path, Path]:
    """Return a study file, and a folder with two of its models on one data set and one on another."""
    file, folder = tmp_path / "study.yaml", tmp_path / "study"
    (folder / "results").mkdir(parents=True)
    content = {"data": {"d": "gone", "e": "gone"}, "models": {"b": {"gated": 1}, "a": {}}, "seeds": [1, 0]}
    file.write_text(yaml.safe_dump(content | {"evaluations": {"full": {}, "c.1": {}}}, sort_keys=False))
    for (data, model), evaluations in EVALUATIONS.items():
        record = {
            **{"data": data, "model": model, "seed": 1, "trained_on": "strict", "data_hash": "abcdef", "seconds": 2},
            **{"settings": {"model": {}}, "skipped": [], "curve": [0.1, 0.2], "best_epoch": 2, "refit_epochs": None},
            "evaluations": {name: REPORT for name in evaluations},
        }
        n_users = 3 if data == "d" else 5
        ranks = {name: np.arange(n_users, dtype=np.uint8) + len(name + model) for name in evaluations}
        write_result(result_file(folder, record), record, ranks)
    plot = folder / "augmenter/d--a--seed-1--strict/views.png"
    plot.parent.mkdir(parents=True)
    plot.write_bytes(b"\x89PNG")
    return file, folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_unpacked_study_is_the_same_folder_and_packs_to_the_same_bytes(study, tmp_path):
    _, folder = study
    pack_study(folder, tmp_path / "packed.npz")
    unpack_study(tmp_path / "packed.npz", tmp_path / "new/study")
    assert contents(tmp_path / "new/study") == contents(folder)
    pack_study(tmp_path / "new/study", tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "packed.npz").read_bytes()


def test_a_packed_study_is_read_by_numpy(study, tmp_path):
    pack_study(study[1], tmp_path / "packed.npz")
    packed = np.load(tmp_path / "packed.npz")
    assert [(each["data"], each["model"]) for each in json.loads(packed["records.json"])] == list(EVALUATIONS)
    assert {name: packed[name].shape for name in packed.files if name.startswith("ranks/")} == {
        "ranks/d/c.1": (3, 1),
        "ranks/d/full": (3, 2),
        "ranks/e/full": (5, 1),
    }
    assert packed["ranks/d/full"].dtype == np.uint8 and packed["ranks/d/full"][:, 1].tolist() == [5, 6, 7]


def test_a_report_needs_only_the_records_and_is_in_the_order_of_the_study(study):
    file, folder = study
    records = report_study(file, folder)  # not all trainings are there, and a setting is of another version
    assert [(each["data"], each["model"]) for each in records] == [("d", "b"), ("d", "a"), ("e", "a")]
    report = (folder / "report.md").read_text()
    assert f"Made by `laclrec-tf study {file.name} --out study`." in report
    assert (folder / "metrics.png").exists() and (folder / "curves.png").exists()
    shutil.rmtree(folder / "results")
    with pytest.raises(InputError, match="holds no results of .*study.yaml. Make them with `laclrec-tf study`"):
        report_study(file, folder)


def test_what_cannot_be_packed_is_named(study, tmp_path):
    with pytest.raises(InputError, match="holds no results of a study"):
        pack_study(tmp_path, tmp_path / "packed.npz")
    with pytest.raises(InputError, match="Cannot write .*its folder does not exist"):
        pack_study(study[1], tmp_path / "none/packed.npz")
    (study[1] / "results/d--b--seed-1--strict.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"d--b--seed-1--strict.npz is damaged"):
        pack_study(study[1], tmp_path / "packed.npz")
    assert not (tmp_path / "packed.npz").exists()


def test_what_cannot_be_unpacked_is_named_and_leaves_nothing(study, tmp_path):
    packed, new = tmp_path / "packed.npz", tmp_path / "new"
    with pytest.raises(InputError, match="Cannot read .*packed.npz: No such file"):
        unpack_study(packed, new)
    pack_study(study[1], packed)
    with pytest.raises(InputError, match="holds results already"):
        unpack_study(packed, study[1])
    whole = packed.read_bytes()
    for damaged in (b"", b"PK", whole[:-9], whole[:400] + bytes(200) + whole[600:]):
        packed.write_bytes(damaged)
        with pytest.raises(InputError, match="Cannot read .*packed.npz: .* Name a file that `pack_study` wrote"):
            unpack_study(packed, new)
    for name in ("../evil.txt", "augmenter/../../evil.txt", "/evil.txt"):
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("records.json", "[]")
            archive.writestr(name, "boo")
        with pytest.raises(InputError, match="it holds"):
            unpack_study(packed, new)
    assert not new.exists()
