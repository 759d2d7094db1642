"""Apache Beam as an engine: the runner that executes pipelines, its options, and the libraries that it needs."""

from __future__ import annotations

import importlib
import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from types import ModuleType
from typing import TYPE_CHECKING

from laclrec_tf.errors import InputError

if TYPE_CHECKING:
    import apache_beam

RUNNERS = ("DirectRunner", "DataflowRunner", "FlinkRunner", "SparkRunner")
# DirectRunner: the only local runner that downloads no program.
_IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
# Option that names the cluster.
_CLUSTER_OPTIONS = {
    "FlinkRunner": "flink_master=HOST:PORT",
    "SparkRunner": "spark_master_url=spark://HOST:PORT",
}


class BeamPipelines:
    """Runs pipelines one after the other, each to its end.

    Args:
        runner: one of `RUNNERS`. Default: "DirectRunner", which runs in this process.
        options: options of Beam or of the runner, `NAME=VALUE` or `NAME`, e.g. `project=my-project`. Default: none.

    Raises:
        InputError: Apache Beam or a library that the runner needs is not installed, or an option is unknown, invalid
            or missing.

    Example:
        >>> BeamPipelines().run(lambda pipeline: None)
    """

    def __init__(self, runner: str = "DirectRunner", options: Sequence[str] = ()) -> None:
        """Check runner and options."""
        import_beam()
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions

        if runner not in RUNNERS:
            raise InputError(f"--runner takes one of {', '.join(RUNNERS)}. Received: {runner!r}.")
        self.runner = runner
        flags = [_flag(option) for option in options]
        self.options = PipelineOptions(flags)
        try:
            with _log_level(logging.ERROR), redirect_stderr(io.StringIO()):  # argparse prints its usage
                known = self.options.get_all_options(drop_default=False)
        except SystemExit:
            raise InputError(f"--beam-option cannot be read by Beam. Received: {', '.join(options)}.") from None
        unknown = [flag for flag in flags if flag[2:].partition("=")[0] not in known]
        if unknown:
            raise InputError(
                f"--beam-option {unknown[0][2:]!r} is no option of Beam or of its runners. See Beam's pipeline options."
            )
        if runner == "DataflowRunner":
            _check_dataflow(known)
        FileSystems.set_options(self.options)

    def run(self, build: Callable[[apache_beam.Pipeline], object]) -> None:
        """Build a pipeline and wait for its end.

        Args:
            build: function that adds transforms to the pipeline it receives.

        Raises:
            InputError: the pipeline failed or could not be submitted; the message has the first line of the reason.
        """
        import apache_beam as beam

        name = _IN_PROCESS if self.runner == "DirectRunner" else self.runner
        try:
            pipeline = beam.Pipeline(runner=name, options=self.options)
            build(pipeline)
            with self._submission():
                running = pipeline.run()
            state = running.wait_until_finish()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"The pipeline failed on {self.runner}: {_reason(error)}.") from error
        if state != beam.runners.runner.PipelineState.DONE:
            raise InputError(f"The pipeline ended as {state} on {self.runner}. See its log for the reason.")

    @contextmanager
    def _submission(self) -> Iterator[None]:
        """Add a remedy to an error of Flink or Spark."""
        try:
            yield
        except Exception as error:
            if self.runner not in _CLUSTER_OPTIONS:
                raise
            jar = f"{self.runner.removesuffix('Runner').lower()}_job_server_jar=FILE"
            raise InputError(
                f"{self.runner} did not accept the pipeline: {_reason(error)}. Beam starts a job server, which needs "
                f"Java and its jar. Beam downloads the jar unless --beam-option {jar} gives one. For a running job "
                "server give --beam-option job_endpoint=HOST:PORT, and for the cluster "
                f"--beam-option {_CLUSTER_OPTIONS[self.runner]}."
            ) from error


def _flag(option: str) -> str:
    name, equals, value = option.removeprefix("--").partition("=")
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise InputError(f"--beam-option takes NAME=VALUE or NAME. Received: {option!r}.")
    if name == "runner":
        raise InputError(f"--beam-option cannot set the runner. Give --runner instead. Received: {option!r}.")
    return f"--{name}{equals}{value}"


def _check_dataflow(options: dict[str, object]) -> None:
    try:
        importlib.import_module("apache_beam.runners.dataflow.internal.apiclient")
        importlib.import_module("google.cloud.storage")
        importlib.import_module("apache_beam.io.gcp.gcsfilesystem")
    except ImportError:
        raise InputError(
            "DataflowRunner needs Beam's libraries for Google Cloud. Install them: pip install 'apache-beam[gcp]'."
        ) from None
    missing = [name for name in ("project", "region", "temp_location") if not options.get(name)]
    if missing:
        flags = " ".join(f"--beam-option {name}=..." for name in missing)
        raise InputError(f"DataflowRunner needs more options. Add {flags}.")


def _reason(error: Exception) -> str:
    # Beam wraps the innermost error in the traceback of its worker.
    inner = re.findall(r"(?:^|\n)(?:[\w.]+\.)?(?:InputError|\w+Error|\w+Exception): ([^\n]+)", str(error))
    text = inner[-1] if inner else (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"\s*\[while running .*", "", text).rstrip(".")


def import_beam() -> ModuleType:
    """Import Apache Beam, which is an extra.

    Raises:
        InputError: it is not installed.

    Example:
        >>> import_beam().__name__
        'apache_beam'
    """
    try:
        with _log_level(logging.ERROR):  # Beam logs each cloud library that is missing
            return importlib.import_module("apache_beam")
    except ImportError:
        raise InputError("Apache Beam is not installed. Install it: pip install 'laclrec-tf[beam]'.") from None


@contextmanager
def _log_level(level: int) -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    root.setLevel(level)
    try:
        yield
    finally:
        root.setLevel(before)


def pipelines_of(engine: str, runner: str | None, options: Sequence[str]) -> BeamPipelines | None:
    """Return the pipelines for the options --engine, --runner and --beam-option of a command.

    Args:
        engine: "local" or "beam".
        runner: see `BeamPipelines`. None: the option was not given.
        options: see `BeamPipelines`.

    Returns:
        None for the local engine.

    Raises:
        InputError: see `BeamPipelines`; or an option of Beam is combined with the local engine.
    """
    if engine == "beam":
        return BeamPipelines(runner or "DirectRunner", options)
    if runner is not None or options:
        raise InputError("--runner and --beam-option need --engine beam. Add it, or remove them.")
    return None
