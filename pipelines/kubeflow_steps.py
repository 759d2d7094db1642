"""The steps of the Kubeflow pipeline: what each container runs.

Kubeflow takes a step's source out of this file, so each imports what it needs; annotations are its types.
What a step makes is made on its own disk and copied: artifacts may lie in a mounted bucket.
"""

from typing import Any

from kfp import dsl


def prepare(events: str, min_interactions: int, data: dsl.Output[dsl.Dataset]) -> None:
    """Prepare events, or simulated ones where none are given."""
    import tempfile
    from pathlib import Path

    from laclrec_tf.data.prepare import prepare
    from laclrec_tf.data.prepared import DATASET_FILE
    from laclrec_tf.data.simulated import simulate_events
    from laclrec_tf.runtime.cloud_storage import reachable
    from laclrec_tf.runtime.output_files import copy_whole

    with tempfile.TemporaryDirectory() as scratch:
        file = reachable(events) if events else simulate_events(Path(scratch, "events.csv"))[0]
        made = prepare(file, Path(scratch, "data"), min_interactions=min_interactions, show_progress=False)
        copy_whole(made.folder, Path(data.path), last=DATASET_FILE)
    data.metadata.update({"data_hash": made.data_hash, **made.counts})


def train(data: dsl.Input[dsl.Dataset], settings: dict[str, Any], run: dsl.Output[dsl.Model]) -> None:
    """Train a run."""
    import tempfile
    from pathlib import Path

    from laclrec_tf.run_folder import RunFolder
    from laclrec_tf.runtime.output_files import copy_whole
    from laclrec_tf.training.config import TrainConfig
    from laclrec_tf.training.train import train

    with tempfile.TemporaryDirectory() as scratch:
        train(data.path, Path(scratch, "run"), TrainConfig.of(settings), show_progress=False)
        made = RunFolder.open(Path(scratch, "run"))
        copy_whole(made.folder, Path(run.path), last="run.json")
    run.metadata.update({"trained_on": made.record["trained_on"], "preset": made.record["settings"]["preset"]})


def evaluate(
    run: dsl.Input[dsl.Model],
    data: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    candidate: dsl.Output[dsl.Model],
) -> None:
    """Measure a run on its test items, and export it with what was measured."""
    import shutil
    import tempfile
    from pathlib import Path

    from laclrec_tf.evaluation.evaluate import evaluate
    from laclrec_tf.runtime.output_files import copy_whole
    from laclrec_tf.serving.release.export import export
    from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE

    with tempfile.TemporaryDirectory() as scratch:
        made = Path(shutil.copytree(run.path, Path(scratch, "run"), copy_function=shutil.copyfile))
        report = evaluate(made, show_progress=False)
        version = export(made, Path(scratch, "model"), show_progress=False)
        copy_whole(version, Path(candidate.path), last=SAVED_MODEL_FILE)
    for name, value in report.items():
        if "@" in name:
            metrics.log_metric(name, value)
    candidate.metadata.update({"data_hash": report["data_hash"], "users": report["users"]})


def bless(
    candidate: dsl.Input[dsl.Model],
    data: dsl.Input[dsl.Dataset],
    served: str,
    metric: str,
    tolerance: float,
    comparison: dsl.Output[dsl.Metrics],
) -> str:
    """Say whether the candidate may take the served version's place: "blessed" or "refused"; `comparison` says why.

    One plain output: kfp's runner on this machine finds no other in the condition of a later step.
    """
    from pathlib import Path

    from laclrec_tf.data.prepared import PreparedData
    from laclrec_tf.errors import InputError
    from laclrec_tf.runtime.cloud_storage import reachable
    from laclrec_tf.serving.release.blessing import bless_on
    from laclrec_tf.serving.release.push import last_items, whole_versions
    from laclrec_tf.serving.release.validation import validate

    folder, model = Path(candidate.path), reachable(served)
    validate(folder)
    versions = whole_versions(model)
    if not versions:
        comparison.metadata["reason"] = "the first version, with none to compare with"
        return "blessed"
    held_out = last_items(PreparedData.open(data.path))
    try:
        found = bless_on(held_out, folder, versions[max(versions)], metric=metric, tolerance=tolerance)
    except InputError as error:
        comparison.metadata["reason"] = str(error)
        return "refused"
    comparison.log_metric("candidate", found.candidate)
    comparison.log_metric("serving", found.serving)
    comparison.metadata["reason"] = str(found)
    return "blessed"


def push(
    candidate: dsl.Input[dsl.Model], data: dsl.Input[dsl.Dataset], served: str, metric: str, tolerance: float
) -> str:
    """Publish the candidate as the next version, and return its folder; compared again, for others may push too."""
    from pathlib import Path

    from laclrec_tf.data.prepared import PreparedData
    from laclrec_tf.runtime.cloud_storage import is_in_bucket, reachable
    from laclrec_tf.serving.release.push import last_items, push, push_into_bucket

    model = reachable(served)
    if is_in_bucket(model):
        asked = last_items(PreparedData.open(data.path))
        return str(push_into_bucket(Path(candidate.path), model, asked, metric, tolerance))
    done = push(candidate.path, model, metric=metric, tolerance=tolerance, data=data.path, show_progress=False)
    return str(done.version)
