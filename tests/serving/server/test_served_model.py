"""A model's versions: loaded, replaced, rolled back, unloaded; their memory is returned to the system."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from laclrec_tf.errors import InputError
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.server import served_model
from laclrec_tf.serving.server.merging import Merging
from laclrec_tf.serving.server.served_model import (
    AVAILABLE,
    END,
    ServedModel,
    State,
    VersionPolicy,
    wanted_versions,
)
from laclrec_tf.serving.version.manifest import MANIFEST_FILE, write_manifest
from laclrec_tf.serving.version.warmup import write_warmup_requests


def model_of(folder: Path, before: ServedModel | None = None, on_state=None, **settings) -> ServedModel:
    return ServedModel(ModelConfig(name="counting", base_path=str(folder), **settings), before, on_state)


def refresh(model: ServedModel) -> list[int]:
    model.load_missing(1)
    model.load_changed(1)
    for version in model.surplus():
        version.unload()
    return [version.number for version in model.available()]


def test_states_in_order(counting_folder):
    states = []
    model = model_of(counting_folder, on_state=lambda *state: states.append(state))
    assert refresh(model) == [1]
    model.versions[1].unload()
    assert [state for *_, state in states] == ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
    assert {(name, number) for name, number, _ in states} == {("counting", 1)}


def test_a_new_version_comes_before_the_old_one_goes(counting_folder, add_version):
    states = []
    model = model_of(counting_folder, on_state=lambda _, number, state: states.append((number, state)))
    refresh(model)
    add_version(2)
    assert refresh(model) == [2]
    assert states.index((2, "AVAILABLE")) < states.index((1, "UNLOADING"))
    assert refresh(model) == [2]


def test_the_old_version_waits_for_its_last_request_and_is_gone(counting_folder, add_version):
    model = model_of(counting_folder)
    refresh(model)
    old = model.versions[1]
    assert old.acquire() and old.acquire()
    loaded = weakref.ref(old.model)
    swap = threading.Thread(target=lambda: (add_version(2), refresh(model)))
    swap.start()
    while State.Name(old.state) != "UNLOADING":
        assert swap.is_alive()
    assert not old.acquire()
    assert model.versions[2].state == AVAILABLE
    inputs = {"history": np.array([[b"a", b"b"]], object)}
    assert old.model.run("serving_default", inputs)["count"].tolist() == [20]  # still answers
    old.release()
    assert old.state != END
    old.release()
    swap.join(30)
    assert old.state == END and old.model is None
    gc.collect()
    assert loaded() is None


def test_a_deleted_version_is_rolled_back(counting_folder, add_version):
    model = model_of(counting_folder)
    add_version(2)
    assert refresh(model) == [2]
    shutil.rmtree(counting_folder / "2")
    assert refresh(model) == [1]
    add_version(2)
    assert refresh(model) == [2]


@pytest.mark.parametrize("damage", ["saved_model.pb", "variables/variables.index"])
def test_a_version_that_does_not_load_leaves_the_old_one(counting_folder, add_version, damage, caplog):
    model = model_of(counting_folder)
    refresh(model)
    folder = add_version(2)
    (folder / damage).write_bytes(b"damaged")
    write_manifest(folder)  # exported like this
    assert refresh(model) == [1]
    status = model.versions[2].status()
    assert status.state == END
    assert status.status.error_code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert "Cannot load" in status.status.error_message and "\n" not in status.status.error_message
    assert "Cannot load" in caplog.text


def test_a_new_server_answers_with_an_older_version_when_the_newest_is_damaged(
    counting_folder, add_version, monkeypatch
):
    monkeypatch.setattr(served_model, "SETTLED_SECONDS", -10.0)
    for number in (2, 3, 4):
        add_version(number)
    for number in (3, 4):
        (counting_folder / str(number) / "saved_model.pb").write_text("damaged")
    model = model_of(counting_folder)
    assert refresh(model) == refresh(model) == [2]
    assert [number for number, version in model.versions.items() if version.error] == [4, 3]
    assert 1 not in model.versions
    shutil.rmtree(counting_folder / "4")
    add_version(4)  # repaired
    assert refresh(model) == [4]
    pinned = {"specific": {"versions": [4, 3]}}  # no other version stands in for one that is named
    model = model_of(counting_folder, model_version_policy=pinned)
    assert refresh(model) == [4]


def test_a_version_that_fails_its_warm_up_leaves_the_old_one(counting_folder, add_version):
    model = model_of(counting_folder)
    refresh(model)
    request = predict_pb2.PredictRequest()
    request.inputs["history"].CopyFrom(tf.make_tensor_proto([["poison"]]))
    write_warmup_requests(add_version(2), [request])
    write_manifest(counting_folder / "2")
    assert refresh(model) == [1]
    assert "fails its own warm-up requests: a poisoned history" in model.versions[2].error.message
    assert model.versions[2].model is None


def test_a_damaged_version_is_tried_again_when_its_files_change(counting_folder, add_version):
    model = model_of(counting_folder)
    refresh(model)
    file = add_version(2) / "saved_model.pb"
    good = file.read_bytes()
    file.unlink()
    assert refresh(model) == [1]
    assert (list(model.waiting), 2 in model.versions) == ([2], False)  # a copy may be in progress
    assert refresh(model) == [1]
    failed = model.versions[2]
    assert failed.error.message.endswith(
        "2 is not as it was exported. missing: saved_model.pb. Export the model again."
    )
    assert refresh(model) == [1]
    assert model.versions[2] is failed  # looks as before: not tried again
    file.write_bytes(good)
    assert refresh(model) == [2]


def test_a_version_that_does_not_match_its_manifest_is_never_announced(counting_folder, add_version):
    model = model_of(counting_folder)
    refresh(model)
    file = add_version(2) / "variables/variables.index"
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"?")  # of the same size
    assert refresh(model) == [1]
    assert "2 is not as it was exported. changed: variables/variables.index" in model.versions[2].error.message
    file.write_bytes(good)
    assert refresh(model) == [2]


def test_a_copy_is_loaded_when_all_files_of_its_manifest_are_there(counting_folder, add_version, tmp_path):
    model = model_of(counting_folder)
    refresh(model)
    file = add_version(2) / "saved_model.pb"
    good = file.read_bytes()
    for size in (0, 10, len(good) - 1):
        file.write_bytes(good[:size])
        assert refresh(model) == [1]
        assert (list(model.waiting), 2 in model.versions) == ([2], False)
    file.write_bytes(good)
    assert refresh(model) == [2]
    assert model.waiting == {}


def test_without_a_manifest_a_version_is_loaded_when_its_files_stay_the_same(counting_folder, add_version):
    model = model_of(counting_folder)
    refresh(model)
    (add_version(2) / MANIFEST_FILE).unlink()
    assert refresh(model) == [1]
    (counting_folder / "2" / "assets.extra" / "more").write_text("more")
    assert refresh(model) == [1]
    assert refresh(model) == [2]


def test_without_a_manifest_old_files_are_loaded_at_once(counting_folder, monkeypatch):
    (counting_folder / "1" / MANIFEST_FILE).unlink()
    monkeypatch.setattr(served_model, "SETTLED_SECONDS", -60.0)  # changed a minute ago at most
    assert refresh(model_of(counting_folder)) == [1]


def test_what_comes_after_the_load_is_loaded_too(counting_folder, tmp_path):
    """A copy is in progress: the warm-up requests, without which nothing is merged, come late."""
    late = (counting_folder / "1" / "assets.extra").rename(tmp_path / "late")
    states = []
    model = model_of(counting_folder, on_state=lambda _, number, state: states.append((number, state)))
    assert [refresh(model), refresh(model)] == [[], [1]]
    first = model.versions[1]
    assert first.merging == {}
    assert first.acquire()  # a request runs
    swap = threading.Thread(target=lambda: (shutil.move(late, counting_folder / "1" / "assets.extra"), refresh(model)))
    swap.start()
    while State.Name(first.state) != "UNLOADING":
        assert swap.is_alive()
    second = model.versions[1]
    assert second is not first and second.state == AVAILABLE
    assert first.model is not None  # for the request
    first.release()
    swap.join(30)
    assert first.model is None
    assert set(second.merging.values()) == {Merging.PADDED}
    assert [state for _, state in states] == ["START", "LOADING", "AVAILABLE"]  # of the second one nothing but this
    second.unload()
    assert [state for _, state in states][3:] == ["UNLOADING", "END"]


def test_a_damage_after_the_load_keeps_what_is_in_memory(counting_folder, caplog):
    model = model_of(counting_folder)
    refresh(model)
    version, file = model.versions[1], counting_folder / "1" / "saved_model.pb"
    good = file.read_bytes()
    file.write_bytes(good[:100])
    for _ in range(4):  # the first look finds the change, the second one tries
        assert refresh(model) == [1]
    assert caplog.text.count("version 1 stays as it was loaded: ") == 1
    assert "1 is not as it was exported. changed: saved_model.pb" in caplog.text
    file.write_bytes(good)
    assert refresh(model) == [1]
    assert model.versions[1] is version and version.state == AVAILABLE


def test_files_that_no_load_reads_do_not_matter(counting_folder):
    model = model_of(counting_folder)
    refresh(model)
    version = model.versions[1]
    (counting_folder / "1" / "notes.txt").write_text("not in the manifest")
    (counting_folder / "1" / "saved_model.pb").touch()
    assert [refresh(model), refresh(model)] == [[1], [1]]
    assert model.versions[1] is version


def test_a_version_exported_again_under_its_number_is_loaded(counting_folder):
    model = model_of(counting_folder)
    refresh(model)
    write_warmup_requests(counting_folder / "1", [])
    write_manifest(counting_folder / "1")
    assert refresh(model) == [1]
    assert model.versions[1].merging == {}


def test_versions_are_kept_when_the_folder_disappears(counting_folder, caplog):
    model = model_of(counting_folder)
    refresh(model)
    version = model.versions[1]
    counting_folder.rename(counting_folder.with_name("elsewhere"))
    assert [refresh(model) for _ in range(3)] == [[1]] * 3
    counting_folder.with_name("elsewhere").rename(counting_folder)
    assert [refresh(model) for _ in range(3)] == [[1]] * 3
    assert model.versions[1] is version and not caplog.records


def test_other_policies_and_labels(counting_folder, add_version):
    for number in (2, 3):
        add_version(number)
    assert refresh(model_of(counting_folder, model_version_policy={"all": {}})) == [1, 2, 3]
    assert refresh(model_of(counting_folder, model_version_policy={"specific": {"versions": [1, 3, 7]}})) == [1, 3]
    assert refresh(model_of(counting_folder, model_version_policy={"latest": {"num_versions": 2}})) == [2, 3]
    assert refresh(model_of(counting_folder, version_labels={"stable": 1})) == [1, 3]


def test_versions_are_taken_over_when_the_folder_is_the_same(counting_folder, add_version, tmp_path):
    model = model_of(counting_folder)
    refresh(model)
    add_version(2)
    more = model_of(counting_folder, model, model_version_policy={"all": {}})
    assert refresh(more) == [1, 2]
    assert more.versions[1] is model.versions[1]
    assert [version.number for version in model.available()] == [1]  # untouched
    elsewhere = shutil.copytree(counting_folder, tmp_path / "elsewhere")
    assert model_of(elsewhere, more).versions == {}


def test_old_states_are_dropped(counting_folder, add_version, monkeypatch):
    monkeypatch.setattr(served_model, "MAX_ENDED", 1)
    model = model_of(counting_folder)
    for number in (2, 3, 4):
        refresh(model)
        add_version(number)
    refresh(model)
    assert sorted(model.versions) == [1, 2, 3, 4]
    model.forget_ended()
    assert sorted(model.versions) == [3, 4]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"name": ""}, "A model in the configuration has no name"),
        ({"base_path": ""}, "Model counting has no base_path"),
        ({"model_platform": "onnx"}, "Model counting: model_platform must be tensorflow. Received: 'onnx'."),
        (
            {"model_version_policy": {"specific": {}}},
            "Model counting: the version policy `specific` must name",
        ),
    ],
)
def test_configurations_that_cannot_be(settings, text):
    with pytest.raises(InputError, match=text):
        ServedModel(ModelConfig(**({"name": "counting", "base_path": "models/counting"} | settings)))


def test_nothing_to_load(tmp_path):
    model = model_of(tmp_path / "missing")
    assert refresh(model) == []
    with pytest.raises(InputError, match="missing holds no version that model counting can serve"):
        raise model.first_error()


@pytest.mark.parametrize(
    ("policy", "existing", "wanted"),
    [
        ({}, [1, 12, 3], {12}),
        ({"latest": {}}, [1, 2], {2}),
        ({"latest": {"num_versions": 2}}, [1, 12, 3], {3, 12}),
        ({"latest": {"num_versions": 5}}, [1, 3], {1, 3}),
        ({"latest": {"num_versions": 1}}, [], set()),
        ({"all": {}}, [1, 12, 3], {1, 3, 12}),
        ({"specific": {"versions": [3, 9]}}, [1, 3], {3}),
    ],
)
def test_wanted(policy, existing, wanted):
    assert wanted_versions(VersionPolicy(**policy), existing) == wanted


def test_no_version_is_loaded_by_a_thread_that_holds_another(counting_folder, add_version, monkeypatch):
    """Their memory would be interleaved, and the older version's would not go back to the system."""
    threads: dict[str, int] = {}

    class Noted(LoadedModel):
        def __init__(self, folder: Path, *arguments) -> None:
            super().__init__(folder, *arguments)
            threads[folder.name] = threading.get_ident()

    monkeypatch.setattr(served_model, "LoadedModel", Noted)
    model = model_of(counting_folder)
    refresh(model)
    for number in range(2, 5):
        add_version(number)
        assert refresh(model) == [number]
    assert threads["1"] == threads["3"] and threads["2"] == threads["4"]  # a thread is used again
    assert len(set(threads.values())) == 2 and threading.get_ident() not in threads.values()
    (counting_folder / "5").mkdir()
    (counting_folder / "5" / "saved_model.pb").write_text("damaged")
    for number in (6, 7):
        refresh(model)  # the damaged version gives its thread back
        add_version(number)
        refresh(model)
    assert len(set(threads.values())) == 2
