"""The pipeline: its YAML, and whole runs on simulated events, in which a worse model does not go out."""

import json

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from laclrec_tf.errors import InputError
from laclrec_tf.serving.model_versions import version_numbers
from pipelines.kubeflow import compile_pipeline, run_here
from pipelines.simulate import simulate_events

SMALL = {"preset": "sasrec", "width": 8}


def test_it_compiles_to_a_pipeline_spec(tmp_path):
    file = compile_pipeline(tmp_path / "pipeline.yaml", image="my/image:1", package="gs://shop-bucket/x.tar.gz")
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
    # What changes outside is asked again each time.
    cached = {name: task.caching_options.enable_cache for name, task in tasks.items() if name != "condition-1"}
    assert cached == {"prepare": False, "train": True, "evaluate": True, "bless": False}
    executors = spec.deployment_spec["executors"]
    for name in executors:
        container = executors[name]["container"]
        assert container["image"] == "my/image:1"
        assert "/gcs/shop-bucket/x.tar.gz" in json.dumps(json_format.MessageToDict(container))
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_only_yaml_is_written(tmp_path):
    with pytest.raises(InputError, match="ends in .yaml"):
        compile_pipeline(tmp_path / "pipeline.json")


def test_the_first_model_goes_out_and_a_worse_one_does_not(tmp_path):
    events = str(simulate_events(tmp_path / "events.csv", users=150, items=60, seed=5)[0])
    served = tmp_path / "saved_models/shop"
    arguments = {"served": str(served), "events": events}
    good = SMALL | {"epochs": 2, "learning_rate": 0.02}
    verdict, reason = run_here(tmp_path / "artifacts", arguments | {"settings": good})
    assert (verdict, reason) == ("blessed", "the first version, with none to compare with")
    assert version_numbers(served) == [1]

    bad = SMALL | {"epochs": 1, "learning_rate": 1e-7, "item_initialisation": "random"}
    verdict, reason = run_here(tmp_path / "artifacts", arguments | {"settings": bad})
    assert verdict == "refused"
    assert "is worse than" in reason
    assert version_numbers(served) == [1]


def test_a_step_that_fails_is_told(tmp_path):
    with pytest.raises(InputError, match="The pipeline failed"):
        run_here(tmp_path / "artifacts", {"served": str(tmp_path / "shop"), "events": str(tmp_path / "no.csv")})
    assert not (tmp_path / "shop").exists()
