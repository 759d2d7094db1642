"""The stages of `local.py` as a Kubeflow pipeline: for Vertex AI Pipelines, for Kubeflow, or run on this machine.

    python pipelines/kubeflow.py compile --out pipeline.yaml --package gs://shop-models/laclrec_tf-0.1.0.tar.gz
    python pipelines/kubeflow.py run saved_models/shop --artifacts artifacts

prepare -> train -> evaluate and export -> bless -> push. A candidate that is worse than the served version is refused.
First the pipeline, then its steps, then the two commands.

Kubeflow copies the source of a step out of this file. So each step imports what it needs, and its annotations are the
types of its inputs and outputs. A step writes to its own disk first and then copies: artifacts may be in a mounted
bucket, which cannot rename folders.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from laclrec_tf.cli.main import run_app
from laclrec_tf.cli.options import Commands, Settings, place_option
from laclrec_tf.data.event_files import format_of
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import mounted, reachable
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.runtime.terminal import terminal
from laclrec_tf.serving.version.folder import version_folders
from laclrec_tf.vertex.job import default_image

try:
    from kfp import compiler, dsl, local
except ImportError:
    print("kubeflow.py: this pipeline needs kfp. Install it: pip install 'laclrec_tf[kubeflow]'.", file=sys.stderr)
    raise SystemExit(2) from None


def build_pipeline(image: str | None = None, package: str | None = None, *, here: bool = False) -> Any:
    """Return the pipeline, a component of kfp.

    Its parameters: `served`, the folder that is served; `events`, a table of events ("" simulates some);
    `min_interactions`; `settings`, flat training settings; `metric` and `tolerance` of the comparison.

    Args:
        image: container image of each step. Default: TensorFlow's own image of the version installed here.
        package: source distribution of laclrec_tf, installed into each step's container: "gs://...tar.gz" or any
            requirement that pip accepts. Default: None, `image` has it.
        here: build it for a run on this machine, in this environment. Default: False.

    Raises:
        InputError: neither `image` nor `package` is given, so the steps could not import laclrec_tf.
    """
    if not (here or image or package):
        raise InputError(
            "The steps import laclrec_tf, which TensorFlow's own image does not have. Give --package gs://...tar.gz, "
            "its source distribution, or --image, an image that has it."
        )

    def component(step: Any) -> Any:
        return dsl.component(
            step,
            base_image=f"python:3.{sys.version_info.minor}" if here else image or default_image(None),
            packages_to_install=[] if package is None else [str(mounted(package))],
            install_kfp_package=not here,
        )

    # kfp reads the functional form.
    Outcome = NamedTuple("Outcome", [("verdict", str), ("comparison", dsl.Metrics)])  # noqa: UP014

    @dsl.pipeline(name="laclrec", description="From events to a served model. A worse model is refused.")
    def laclrec(
        served: str,
        events: str = "",
        min_interactions: int = 5,
        settings: dict[str, Any] = {},  # noqa: B006 - kfp reads it once, as the parameter's default
        metric: str = "ndcg@10",
        tolerance: float = 0.02,
    ) -> Outcome:
        # Events and the served version change outside the pipeline, so the steps that read them are never cached.
        prepared = component(prepare)(events=events, min_interactions=min_interactions).set_caching_options(False)
        data = prepared.outputs["data"]
        run = component(train)(data=data, settings=settings).outputs["run"]
        candidate = component(evaluate)(run=run, data=data).outputs["candidate"]
        bar = {"candidate": candidate, "data": data, "served": served, "metric": metric, "tolerance": tolerance}
        blessed = component(bless)(**bar).set_caching_options(False)
        verdict = blessed.outputs["Output"]
        with dsl.If(verdict == "blessed"):
            component(push)(**bar).set_caching_options(False)
        return Outcome(verdict, blessed.outputs["comparison"])

    return laclrec


def prepare(events: str, min_interactions: int, data: dsl.Output[dsl.Dataset]) -> None:
    """Prepare the events, or simulated ones when `events` is empty."""
    import tempfile
    from pathlib import Path

    from laclrec_tf.data.prepare import prepare
    from laclrec_tf.data.prepared import DATASET_FILE
    from laclrec_tf.data.simulated import simulate_events
    from laclrec_tf.runtime.cloud_storage import reachable
    from laclrec_tf.runtime.output_files import copy_whole

    with tempfile.TemporaryDirectory() as scratch:
        file = reachable(events) if events else simulate_events(Path(scratch, "events.csv"))[0]
        prepared = prepare(file, Path(scratch, "data"), min_interactions=min_interactions, show_progress=False)
        copy_whole(prepared.folder, Path(data.path), last=DATASET_FILE)
    data.metadata.update({"data_hash": prepared.data_hash, **prepared.counts})


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
        trained = RunFolder.open(Path(scratch, "run"))
        copy_whole(trained.folder, Path(run.path), last="run.json")
    run.metadata.update({"trained_on": trained.record["trained_on"], "preset": trained.record["settings"]["preset"]})


def evaluate(
    run: dsl.Input[dsl.Model],
    data: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    candidate: dsl.Output[dsl.Model],
) -> None:
    """Evaluate a run on its test items, and export it together with the metrics."""
    import shutil
    import tempfile
    from pathlib import Path

    from laclrec_tf.evaluation.evaluate import evaluate
    from laclrec_tf.runtime.output_files import copy_whole
    from laclrec_tf.serving.release.export import export
    from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE

    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(run.path, Path(scratch, "run"), copy_function=shutil.copyfile))
        report = evaluate(copy, show_progress=False)
        version = export(copy, Path(scratch, "model"), show_progress=False)
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
    """Return "blessed" if the candidate may replace the served version, else "refused"; `comparison` has the reason.

    The verdict is the only plain output: the condition of a later step can read no other under kfp.local.
    """
    from pathlib import Path

    from laclrec_tf.errors import InputError
    from laclrec_tf.runtime.cloud_storage import reachable
    from laclrec_tf.serving.release.blessing import HeldOutItems, bless
    from laclrec_tf.serving.release.validation import validate
    from laclrec_tf.serving.version.folder import whole_versions

    folder, model = Path(candidate.path), reachable(served)
    validate(folder)
    versions = whole_versions(model)
    if not versions:
        comparison.metadata["reason"] = "the first version, with none to compare with"
        return "blessed"
    held_out = HeldOutItems.test_of(data.path)
    try:
        found = bless(folder, versions[max(versions)], metric=metric, tolerance=tolerance, held_out=held_out)
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
    """Publish the candidate as the next version, and return its folder.

    It is compared once more, since another pipeline may have pushed in between.
    """
    from pathlib import Path

    from laclrec_tf.runtime.cloud_storage import is_in_bucket, reachable
    from laclrec_tf.serving.release.blessing import HeldOutItems
    from laclrec_tf.serving.release.push import push, push_into_bucket

    model = reachable(served)
    if is_in_bucket(model):
        held_out = HeldOutItems.test_of(data.path)
        return str(push_into_bucket(Path(candidate.path), model, held_out, metric, tolerance))
    done = push(candidate.path, model, metric=metric, tolerance=tolerance, data=data.path, show_progress=False)
    return str(done.version)


app = Commands(help="From events to a served model, as a Kubeflow pipeline.", add_completion=False)


@app.command("compile", tensorflow=False)
def compile_pipeline(
    out: Annotated[Path, place_option(help="File to write, .yaml.")],
    image: Annotated[
        str | None, typer.Option(help="Image of each step. Default: TensorFlow's own.", show_default=False)
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(metavar="gs://...tar.gz", help="Source distribution of laclrec_tf. Default: --image has it."),
    ] = None,
) -> None:
    """Write the pipeline as YAML, which Vertex AI Pipelines and Kubeflow read."""
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"A pipeline is written as YAML. Received: {out}. Give a name that ends in .yaml.")
    file = ReportFile(out)
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch, "pipeline.yaml")
        compiler.Compiler().compile(build_pipeline(image, package), str(compiled))
        file.write(compiled.read_bytes())
    terminal().print(f"wrote {out}")


@app.command("run")
def run_pipeline(
    served: Annotated[str, typer.Argument(help="saved_models/NAME, the folder that is served.")],
    artifacts: Annotated[Path, place_option(help="Folder for what the steps write.")],
    events: Annotated[str | None, typer.Option(help="A table of events. Default: simulated events.")] = None,
    min_interactions: Annotated[int, typer.Option(help="k-core: min events of each user and item.")] = 5,
    set_: Settings = None,
) -> None:
    """Run the pipeline on this machine, each step in its own process."""
    from laclrec_tf.training.config import TrainConfig, parse_assignments

    settings = parse_assignments(set_ or [])
    TrainConfig.of(settings)
    model = reachable(served).resolve()
    arguments = {"served": str(model), "min_interactions": min_interactions, "settings": settings}
    if events is not None:
        format_of(reachable(events))
        arguments["events"] = str(reachable(events).resolve())
    artifacts.mkdir(parents=True, exist_ok=True)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(artifacts), raise_on_error=True)
    before = version_folders(model)
    try:
        done = build_pipeline(here=True)(**arguments)
    except RuntimeError as error:
        plain = re.sub(r"\x1b\[\d*m", "", str(error))  # kfp colours its messages
        raise InputError(f"The pipeline failed: {plain} Its log is above.") from error
    verdict = done.outputs["verdict"]
    if verdict == "blessed" and version_folders(model) == before:
        raise InputError(f"The candidate was blessed, but nothing was pushed to {model}. The log above says why.")
    terminal().print(f"{verdict}: {done.outputs['comparison'].metadata['reason']}")


if __name__ == "__main__":
    run_app(app)
