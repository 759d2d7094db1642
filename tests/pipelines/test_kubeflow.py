"""The pipeline: its YAML, a whole run in which a worse model is refused, and how the runner treats results of steps."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import dsl
from kfp.dsl.executor_main import executor_main
from kfp.local import subprocess_task_handler
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.serving.release import push as push_module
from laclrec_tf.serving.release import validation
from laclrec_tf.serving.version.folder import version_folders
from laclrec_tf.serving.version.manifest import verify_manifest
from pipelines import kubeflow
from pipelines.kubeflow import compile_pipeline, run_pipeline

pytestmark = pytest.mark.usefixtures("quick_loads")


def test_as_a_script(process, script, tmp_path, monkeypatch):
    done = process("kubeflow.py", "compile", "--out", "pipeline.yaml", "--image", "my/image:1", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrote pipeline.yaml\n", "")
    monkeypatch.chdir(tmp_path)
    error = script("kubeflow.py", "compile", "--out", "no/pipeline.yaml", "--image", "my/image:1", code=2)
    assert error == (
        "kubeflow.py: Cannot write no/pipeline.yaml: its folder does not exist. Name a file that can be written.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_without_the_extra(monkeypatch, script):
    monkeypatch.setitem(sys.modules, "kfp", None)
    assert "pip install 'laclrec_tf[kubeflow]'" in script("kubeflow.py", "--help", code=2)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "saved_models/shop", "--artifacts", "artifacts"]])
def test_the_command_says_where_it_went(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(["kubeflow", *arguments])
    says = "laclrec-tf: `laclrec-tf kubeflow` is now `python pipelines/kubeflow.py`, run from a checkout "
    assert capsys.readouterr().err.startswith(says)


def test_it_compiles_to_a_pipeline_spec(tmp_path):
    file = tmp_path / "pipeline.yaml"
    compile_pipeline(file, image="my/image:1", package="gs://shop-bucket/x.tar.gz")
    spec = PipelineSpec()
    json_format.ParseDict(next(yaml.safe_load_all(file.read_text())), spec)
    tasks = spec.root.dag.tasks
    assert set(tasks) == {"prepare", "train", "evaluate", "bless", "condition-1"}
    assert list(spec.components["comp-condition-1"].dag.tasks) == ["push"]
    assert "'blessed'" in tasks["condition-1"].trigger_policy.condition
    kinds = {
        name: artifact.artifact_type.schema_title
        for name, artifact in spec.components["comp-evaluate"].output_definitions.artifacts.items()
    }
    assert kinds == {"candidate": "system.Model", "metrics": "system.Metrics"}
    # Steps that read what changes outside run again each time.
    cached = {name: task.caching_options.enable_cache for name, task in tasks.items() if name != "condition-1"}
    assert cached == {"prepare": False, "train": True, "evaluate": True, "bless": False}
    executors = spec.deployment_spec["executors"]
    for name in executors:
        container = executors[name]["container"]
        assert container["image"] == "my/image:1"
        assert "/gcs/shop-bucket/x.tar.gz" in json.dumps(json_format.MessageToDict(container))
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


@pytest.mark.parametrize(
    ("name", "package", "says"),
    [
        ("pipeline.json", "gs://shop-bucket/x.tar.gz", "ends in .yaml"),
        ("pipeline.yaml", None, "Give --package gs://...tar.gz, .* or --image"),
    ],
)
def test_what_could_not_run_is_not_written(tmp_path, name, package, says):
    with pytest.raises(InputError, match=says):
        compile_pipeline(tmp_path / name, package=package)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_compiler_leaves_nothing(tmp_path, monkeypatch):
    def half(self, pipeline, file):
        Path(file).write_text("half")
        raise RuntimeError("on purpose")

    monkeypatch.setattr("kfp.compiler.Compiler.compile", half)
    (tmp_path / "old.yaml").write_text("old")
    for name in ("new.yaml", "old.yaml"):
        with pytest.raises(RuntimeError, match="on purpose"):
            compile_pipeline(tmp_path / name, image="my/image:1")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.yaml": "old"}


@pytest.mark.parametrize("place", ["file", "file/deeper"])
def test_artifacts_need_a_folder(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="exists|Not a directory"):  # one line for `run_app`
        run_pipeline(str(tmp_path / "shop"), tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def in_this_process(monkeypatch, tmp_path):
    """Run each step's source as its process would, but in this one, which has imported TensorFlow."""

    def execute(full_command, env_vars):
        source = next(index for index, part in enumerate(full_command) if "def " in part)
        module = tmp_path / "ephemeral_component.py"
        module.write_text(full_command[source])
        arguments = ["executor", "--component_module_path", str(module), *full_command[source + 1 :]]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", arguments)
            executor_main()
        return 0

    monkeypatch.setattr(subprocess_task_handler, "run_local_subprocess", execute)


@pytest.mark.usefixtures("untraced_here")
def test_a_worse_model_is_refused(in_this_process, data, sasrec_export, tmp_path, capsys):
    served = shutil.copytree(sasrec_export, tmp_path / "shop")
    run_pipeline(
        str(served),
        tmp_path / "artifacts",
        str(data.parent / "events.csv"),
        min_interactions=1,
        set_=["preset=popular"],
    )
    assert re.search("^refused: .* is worse than", capsys.readouterr().out, re.MULTILINE)
    assert list(version_folders(served)) == [1]


def test_the_first_model_is_blessed_and_pushed(data, sasrec_export, tmp_path, monkeypatch):
    validated = []
    monkeypatch.setattr(validation, "validate", validated.append)  # `push` has its own reference
    candidate = dsl.Model(uri=str(sasrec_export / "1"))
    comparison = dsl.Metrics(uri=str(tmp_path / "comparison"))
    bar = {"served": str(tmp_path / "shop"), "metric": "ndcg@10", "tolerance": 0.02}
    prepared = dsl.Dataset(uri=str(data))
    assert kubeflow.bless(candidate, prepared, comparison=comparison, **bar) == "blessed"
    assert validated == [sasrec_export / "1"]
    assert comparison.metadata["reason"] == "the first version, with none to compare with"
    assert kubeflow.push(candidate, prepared, **bar) == str(tmp_path / "shop/1")
    assert list(version_folders(tmp_path / "shop")) == [1]


def test_in_a_bucket_a_version_is_what_is_whole(data, sasrec_export, laclrec_export, tmp_path, monkeypatch):
    monkeypatch.setattr("laclrec_tf.runtime.cloud_storage.MOUNT", tmp_path)
    for module in (push_module, validation):
        monkeypatch.setattr(module, "validate", lambda folder: None)
    model = tmp_path / "shop-bucket/shop"
    (model / "1/variables").mkdir(parents=True)  # left by a push that was killed
    bar = {"served": "gs://shop-bucket/shop", "metric": "ndcg@10", "tolerance": 0.02}
    prepared, candidate = dsl.Dataset(uri=str(data)), dsl.Model(uri=str(sasrec_export / "1"))
    comparison = dsl.Metrics(uri=str(tmp_path / "comparison"))
    assert kubeflow.bless(candidate, prepared, comparison=comparison, **bar) == "blessed"
    assert kubeflow.push(candidate, prepared, **bar) == str(model / "2")
    verify_manifest(model / "2")

    worse = dsl.Model(uri=str(laclrec_export / "1"))
    with pytest.raises(InputError, match="is worse than"):
        kubeflow.push(worse, prepared, **bar)
    assert list(version_folders(model)) == [1, 2]


# Steps that import no TensorFlow. kfp copies their source, like that of the real ones.


def prepare(events: str, min_interactions: int, data: dsl.Output[dsl.Dataset]) -> None:
    """Prepare nothing."""


def train(data: dsl.Input[dsl.Dataset], settings: dict, run: dsl.Output[dsl.Model]) -> None:
    """Fail if there are settings."""
    if settings:
        raise ValueError("on purpose")


def evaluate(
    run: dsl.Input[dsl.Model],
    data: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    candidate: dsl.Output[dsl.Model],
) -> None:
    """Measure nothing."""


def bless(
    candidate: dsl.Input[dsl.Model],
    data: dsl.Input[dsl.Dataset],
    served: str,
    metric: str,
    tolerance: float,
    comparison: dsl.Output[dsl.Metrics],
) -> str:
    """Bless, because of the metric."""
    comparison.metadata["reason"] = f"{metric} is enough"
    return "blessed"


def push(
    candidate: dsl.Input[dsl.Model], data: dsl.Input[dsl.Dataset], served: str, metric: str, tolerance: float
) -> str:
    """Make a version."""
    from pathlib import Path

    Path(served, "1").mkdir(parents=True)
    return served


@pytest.fixture
def light_steps(monkeypatch):
    """Put the steps above into the pipeline."""
    for step in (prepare, train, evaluate, bless, push):
        monkeypatch.setattr(kubeflow, step.__name__, step)


def test_what_is_blessed_is_pushed(light_steps, tmp_path, capsys):
    run_pipeline(str(tmp_path / "shop"), tmp_path / "artifacts")
    assert capsys.readouterr().out.endswith("blessed: ndcg@10 is enough\n")
    assert list(version_folders(tmp_path / "shop")) == [1]


def test_a_failed_step_is_named(light_steps, tmp_path):
    with pytest.raises(InputError, match="The pipeline failed: .*'train'") as raised:
        run_pipeline(str(tmp_path / "shop"), tmp_path / "artifacts", set_=["epochs=7"])
    assert "\x1b" not in str(raised.value)
    assert not (tmp_path / "shop").exists()


def test_events_must_exist_before_any_step(tmp_path):
    with pytest.raises(InputError, match="no.csv does not exist"):
        run_pipeline(str(tmp_path / "shop"), tmp_path / "artifacts", str(tmp_path / "no.csv"))
    assert list(tmp_path.iterdir()) == []
