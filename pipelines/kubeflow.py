"""The whole as a Kubeflow pipeline: prepare, train, evaluate, bless, and push what is no worse than what is served."""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from laclrec_tf.data.event_files import ending_of
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import mounted, reachable
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.serving.release.blessing import METRIC, TOLERANCE
from laclrec_tf.serving.version.folder import version_numbers
from laclrec_tf.vertex.job import default_image

NAME = "laclrec"


def build_pipeline(image: str | None = None, package: str | None = None, *, here: bool = False) -> Any:
    """Return the pipeline, a component of kfp.

    Its parameters: `served`, the folder that is served; `events`, a table of events ("" simulates some);
    `min_interactions`; `settings`, flat training settings; `metric` and `tolerance` of the comparison.

    Args:
        image: container image of each step. Default: None, TensorFlow's own of the version installed here.
        package: this package, installed into each step's container: "gs://...tar.gz" or what pip takes. Default:
            None, `image` has it.
        here: for a run on this machine in this very environment. Default: False.

    Raises:
        InputError: the extra `kubeflow` is not installed, or the steps would have no package to import.
    """
    if not (here or image or package):
        raise InputError(
            "The steps import this package, which TensorFlow's own image does not hold. Give --package gs://...tar.gz, "
            "its source distribution, or --image, an image that has it."
        )
    dsl = import_kfp().dsl
    from pipelines import kubeflow_steps as steps

    def component(function: Any) -> Any:
        return dsl.component(
            function,
            base_image=f"python:3.{sys.version_info.minor}" if here else image or default_image(None),
            packages_to_install=[] if package is None else [str(mounted(package))],
            install_kfp_package=not here,
        )

    prepare, train, evaluate, bless, push = map(
        component, (steps.prepare, steps.train, steps.evaluate, steps.bless, steps.push)
    )

    # kfp reads the functional form.
    Outcome = NamedTuple("Outcome", [("verdict", str), ("comparison", dsl.Metrics)])  # type: ignore[name-defined]  # noqa: UP014

    @dsl.pipeline(name=NAME, description="Events to a served model; a worse model does not go out.")
    def laclrec(
        served: str,
        events: str = "",
        min_interactions: int = 5,
        settings: dict[str, Any] = {},  # noqa: B006 - kfp reads it once, as the parameter's default
        metric: str = METRIC,
        tolerance: float = TOLERANCE,
    ) -> Outcome:
        # What lies at `events`, and what is served, change outside the pipeline: yesterday's answer says nothing.
        prepared = prepare(events=events, min_interactions=min_interactions).set_caching_options(False)
        data = prepared.outputs["data"]
        run = train(data=data, settings=settings).outputs["run"]
        candidate = evaluate(run=run, data=data).outputs["candidate"]
        bar = {"candidate": candidate, "data": data, "served": served, "metric": metric, "tolerance": tolerance}
        blessed = bless(**bar).set_caching_options(False)
        verdict = blessed.outputs["Output"]
        with dsl.If(verdict == "blessed"):
            push(**bar).set_caching_options(False)
        return Outcome(verdict, blessed.outputs["comparison"])

    return laclrec


def compile_pipeline(out: Path, image: str | None = None, package: str | None = None) -> Path:
    """Write the pipeline as YAML, which Vertex AI Pipelines and Kubeflow take.

    Args:
        out: the file, ".yaml".
        image: see `build_pipeline`.
        package: see `build_pipeline`.

    Raises:
        InputError: the file's name does not end in .yaml, or it cannot be written; or see `build_pipeline`.
    """
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"A pipeline is written as YAML. Received: {out}. Give a name that ends in .yaml.")
    pipeline = build_pipeline(image, package)
    file = ReportFile(out)
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / f"{NAME}.yaml"  # kfp wants the ending
        import_kfp().compiler.Compiler().compile(pipeline, str(compiled))
        file.write(compiled.read_bytes())
    return out


def run_here(artifacts: Path, arguments: dict[str, Any]) -> tuple[str, str]:
    """Run the pipeline on this machine, each step in a process of its own.

    Args:
        artifacts: folder for what the steps make, by run and step.
        arguments: the pipeline's parameters.

    Returns:
        The verdict, "blessed" (and pushed) or "refused", and its reason.

    Raises:
        InputError: the extra is not installed, `artifacts` is no folder, there are no such events, or a step failed;
            its log was printed.
    """
    nearest = next((place for place in (artifacts, *artifacts.parents) if place.exists()), artifacts)
    if nearest.exists() and not nearest.is_dir():
        raise InputError(f"{nearest} is a file. Give a folder with --artifacts.")
    import_kfp()
    if arguments.get("events"):
        ending_of(reachable(arguments["events"]))
    from kfp import local

    model = reachable(arguments["served"])
    before = version_numbers(model)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(artifacts), raise_on_error=True)
    try:
        done = build_pipeline(here=True)(**arguments)
    except RuntimeError as error:
        plain = re.sub(r"\x1b\[\d*m", "", str(error))  # kfp colours its words
        raise InputError(f"The pipeline failed: {plain} Its log is above.") from error
    verdict, comparison = done.outputs["verdict"], done.outputs["comparison"]
    if verdict == "blessed" and version_numbers(model) == before:
        raise InputError(f"The candidate was blessed, but nothing was pushed to {model}. The log above says why.")
    return verdict, comparison.metadata["reason"]


def import_kfp() -> Any:
    """Import kfp.

    Raises:
        InputError: the extra is not installed.
    """
    try:
        import kfp
        import kfp.compiler
    except ImportError:
        raise InputError("The pipeline takes kfp. Install it with `pip install 'laclrec_tf[kubeflow]'`.") from None
    return kfp
