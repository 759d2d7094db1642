"""Several models by name, and configurations that come and go."""

from __future__ import annotations

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelConfigList, ModelServerConfig

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server import registry as module
from laclrec_tf.serving.server import served_model
from laclrec_tf.serving.server.registry import MAX_WAIT_SECONDS, ModelRegistry


def config_of(*models: dict) -> ModelServerConfig:
    return ModelServerConfig(model_config_list=ModelConfigList(config=[ModelConfig(**model) for model in models]))


def spec_of(name: str = "counting", version: int | None = None, label: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name)
    if version is not None:
        spec.version.value = version
    if label:
        spec.version_label = label
    return spec


def found(registry: ModelRegistry, **spec) -> int:
    version = registry.acquire(spec_of(**spec))
    version.release()
    return version.number


def refusal(registry: ModelRegistry, **spec) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(ServingError) as caught:
        registry.acquire(spec_of(**spec))
    return caught.value.code, caught.value.message


@pytest.fixture
def base(counting_folder: Path) -> dict:
    return {"name": "counting", "base_path": str(counting_folder)}


@pytest.fixture
def registry(base: dict):
    registry = ModelRegistry()
    registry.apply(config_of(base))
    yield registry
    registry.close()


def test_newest_exact_and_labelled(registry, base, add_version):
    add_version(2)
    registry.apply(
        config_of(base | {"model_version_policy": {"all": {}}, "version_labels": {"stable": 1, "canary": 2}})
    )
    assert found(registry) == 2
    assert found(registry, version=1) == 1
    assert (found(registry, label="stable"), found(registry, label="canary")) == (1, 2)
    assert refusal(registry, label="best") == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: best",
    )
    assert refusal(registry, version=3) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(counting, 3). Served here: counting, versions 1 and 2.",
    )
    assert refusal(registry, name="house", label="best")[1].startswith(
        "Servable not found for request: Latest(house). Served here: counting, versions 1 and 2."
    )


def test_models_come_and_go(registry, base, tmp_path, counting_version):
    shutil.copytree(counting_version, tmp_path / "other" / "7")
    other = {"name": "other", "base_path": str(tmp_path / "other")}
    kept = registry.acquire(spec_of())
    kept.release()
    registry.apply(config_of(base, other))
    assert (found(registry), found(registry, name="other")) == (1, 7)
    again = registry.acquire(spec_of())
    again.release()
    assert again is kept  # what stays is not loaded again
    registry.apply(config_of(other))
    assert refusal(registry)[1].endswith("Served here: other, version 7.")
    assert kept.model is None
    registry.apply(config_of())
    assert refusal(registry, name="other")[1].endswith("Served here: none.")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": ""}, "has no name"),
        ({"name": "other", "base_path": "no/such/folder"}, "holds no version that model other can serve"),
        ({"name": "other", "base_path": ""}, "has no base_path"),
        ({"name": "counting"}, "names model counting twice"),
        (
            {"name": "other", "model_version_policy": {"specific": {"versions": [1, 5]}}},
            "holds no version 5, which the version policy `specific` of model other names. Versions there: 1.",
        ),
    ],
)
def test_a_bad_configuration_changes_nothing(registry, base, change, text):
    with pytest.raises(InputError, match=text):
        registry.apply(config_of(base, base | change))
    assert found(registry) == 1
    assert refusal(registry, name="other")[1].endswith("Served here: counting, version 1.")


def test_a_pinned_version_must_load(registry, base, counting_folder):
    """A version that was asked for by its number is served, or the configuration is refused."""
    (counting_folder / "2").mkdir()
    (counting_folder / "2" / "saved_model.pb").write_bytes(b"not a proto")
    with pytest.raises(InputError, match="2: saved_model.pb is damaged"):
        registry.apply(config_of(base | {"model_version_policy": {"specific": {"versions": [1, 2]}}}))
    assert found(registry) == 1
    registry.apply(config_of(base | {"model_version_policy": {"all": {}}}))  # which names none


def test_before_the_first_configuration_and_after_the_end(registry):
    unavailable = (grpc.StatusCode.UNAVAILABLE, "The server is starting or stopping. Try again later.")
    assert refusal(ModelRegistry()) == unavailable
    registry.close()
    assert refusal(registry) == unavailable
    with pytest.raises(ServingError, match="starting or stopping"):
        registry.statuses(spec_of())


def test_a_configuration_that_is_no_list(registry):
    with pytest.raises(InputError, match="must be a model_config_list"):
        registry.apply(ModelServerConfig())
    assert found(registry) == 1


def test_a_label_needs_an_available_version(registry, base, add_version):
    add_version(2)
    with pytest.raises(ServingError, match="label stable to version 5 of model counting, which is not") as caught:
        registry.apply(config_of(base | {"version_labels": {"stable": 5}, "model_version_policy": {"all": {}}}))
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert found(registry) == 1  # the version loaded for it is unloaded
    assert [status.version for status in registry.statuses(spec_of())] == [1]


def test_a_label_moves(registry, base, add_version):
    add_version(2)
    for number in (1, 2):
        registry.apply(config_of(base | {"version_labels": {"stable": number}}))
        assert found(registry, label="stable") == number
    assert refusal(registry, version=1)[0] is grpc.StatusCode.NOT_FOUND  # no label, not the newest


def test_refresh_and_states(registry, add_version):
    add_version(2)
    registry.refresh()
    (new, old) = registry.statuses(spec_of())
    assert (new.version, old.version) == (2, 1)
    name_of = type(new).State.Name
    assert (name_of(new.state), name_of(old.state)) == ("AVAILABLE", "END")
    assert old.status.error_code == 0
    assert [status.version for status in registry.statuses(spec_of(version=1))] == [1]
    for spec, text in ((spec_of("house"), "any versions of model house"), (spec_of(version=9), "version 9 of model")):
        with pytest.raises(ServingError, match=text) as caught:
            registry.statuses(spec)
        assert caught.value.code is grpc.StatusCode.NOT_FOUND


def test_a_folder_that_cannot_be_read_is_logged_once(registry, monkeypatch, caplog):
    def trouble(folder):
        raise OSError(24, "Too many open files")

    for _ in range(2):
        with monkeypatch.context() as broken:
            broken.setattr(served_model, "version_folders", trouble)
            registry.refresh()
            registry.refresh()
        registry.refresh()  # it can be read again
    assert [record.levelname for record in caplog.records if "cannot read its folder" in record.message] == [
        "ERROR"
    ] * 2
    assert found(registry) == 1


def test_a_model_that_is_being_loaded(counting_folder):
    seen = []
    registry = ModelRegistry(
        on_state=lambda name, number, state: seen.append((state, refusal(registry))) if state == "LOADING" else None
    )
    registry.apply(config_of({"name": "counting", "base_path": str(counting_folder)}))
    assert seen == [("LOADING", (grpc.StatusCode.UNAVAILABLE, "Model counting is still being loaded."))]
    registry.close()


def test_a_folder_written_otherwise_is_the_same_folder(counting_folder, monkeypatch):
    registry = ModelRegistry()
    registry.apply(config_of({"name": "counting", "base_path": str(counting_folder)}))
    before = registry.acquire(model_pb2.ModelSpec(name="counting"))
    monkeypatch.chdir(counting_folder.parent)
    registry.apply(config_of({"name": "counting", "base_path": counting_folder.name}))
    after = registry.acquire(model_pb2.ModelSpec(name="counting"))
    assert after is before  # not loaded again
    before.release(), after.release()
    registry.close()


def test_the_start_waits_for_files_that_are_being_copied(base, counting_folder, monkeypatch):
    file = counting_folder / "1" / "saved_model.pb"
    good = file.read_bytes()
    file.write_bytes(good[:9])
    registry = ModelRegistry()
    monkeypatch.setattr(registry, "_closing", SimpleNamespace(wait=lambda seconds: file.write_bytes(good) < 0))
    registry.apply(config_of(base))
    monkeypatch.undo()
    assert found(registry) == 1
    registry.close()


def test_the_start_serves_an_older_version_while_a_newer_one_is_copied(base, counting_folder, add_version, monkeypatch):
    add_version(2)
    file = counting_folder / "2" / "saved_model.pb"
    good = file.read_bytes()
    file.write_bytes(good[:9])
    registry = ModelRegistry()
    waits, contents = iter([False, False]), itertools.count()
    monkeypatch.setattr(registry, "_closing", SimpleNamespace(wait=lambda seconds: next(waits)))
    # The file grows, so no look finds it as it was before.
    monkeypatch.setattr(served_model, "_content", lambda folder: next(contents))
    registry.apply(config_of(base))
    monkeypatch.undo()
    assert found(registry) == 1
    file.write_bytes(good)
    registry.refresh()
    assert found(registry) == 2
    registry.close()


def test_the_end_of_a_server_does_not_wait_for_files(base, counting_folder):
    (counting_folder / "1" / "saved_model.pb").write_bytes(b"")
    registry = ModelRegistry()
    with ThreadPoolExecutor(1) as thread:
        start = thread.submit(registry.apply, config_of(base))
        while not registry.has_models():
            assert not start.done()
        registry.close()
        with pytest.raises(InputError, match="is incomplete"):
            start.result(MAX_WAIT_SECONDS / 2)


def test_the_start_does_not_wait_for_ever(base, counting_folder, monkeypatch):
    (counting_folder / "1" / "saved_model.pb").write_bytes(b"")
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 0.0)
    with pytest.raises(InputError, match="counting/1 is incomplete, and its files keep changing. Wait until they are"):
        ModelRegistry().apply(config_of(base))


def test_nothing_stays_of_a_first_configuration_that_fails(counting_folder, tmp_path):
    registry = ModelRegistry()
    good = {"name": "counting", "base_path": str(counting_folder)}
    with pytest.raises(InputError):
        registry.apply(config_of(good, {"name": "other", "base_path": str(tmp_path / "missing")}))
    assert refusal(registry)[1].endswith("Served here: none.")
