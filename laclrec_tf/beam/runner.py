"""Apache Beam as an engine: which runner executes a pipeline, with which options, and what it needs installed."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from laclrec_tf.errors import InputError

if TYPE_CHECKING:
    import apache_beam

# DirectRunner: of the machine's own runners the one that downloads no program.
_IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
# What a runner starts or finds its cluster with, when it does not take the pipeline.
_REMEDIES = {
    "FlinkRunner": "flink_master=HOST:PORT",
    "SparkRunner": "spark_master_url=spark://HOST:PORT",
}
RUNNERS = ("DirectRunner", "DataflowRunner", "FlinkRunner", "SparkRunner")


def import_beam() -> ModuleType:
    """Import Apache Beam, which is an extra.

    Raises:
        InputError: it is not installed.

    Example:
        >>> import_beam().__name__
        'apache_beam'
    """
    root = logging.getLogger()
    level = root.level
    try:
        root.setLevel(logging.ERROR)  # Beam tells of each cloud library that is not there
        return importlib.import_module("apache_beam")
    except ImportError:
        raise InputError(
            "--engine beam needs Apache Beam, which is not installed. Install it: pip install 'laclrec-tf[beam]'."
        ) from None
    finally:
        root.setLevel(level)


class BeamPipelines:
    """Runs pipelines one after the other, each to its end.

    Args:
        runner: one of `RUNNERS`. Default: "DirectRunner", this process.
        options: `NAME=VALUE` or `NAME` each, options of Beam or of the runner, such as `project=my-project`.

    Raises:
        InputError: Apache Beam or what the runner needs is not installed, or an option is unknown or incomplete.

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
        self._flags = [_flag(option) for option in options]
        self.options = PipelineOptions(self._flags)
        try:
            with _Complaints():
                known = self.options.get_all_options(drop_default=False)
        except SystemExit:
            raise InputError(f"--beam-option cannot be read by Beam. Received: {', '.join(options)}.") from None
        unknown = [flag for flag in self._flags if flag[2:].partition("=")[0] not in known]
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
            build: adds transforms to the pipeline that it is given.

        Raises:
            InputError: the pipeline failed, or could not be submitted; the message is the first line of the reason.
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
            raise InputError(f"The pipeline ended as {state} on {self.runner}. Its log says why.")

    @contextmanager
    def _submission(self) -> Iterator[None]:
        """Add to why Flink or Spark did not take the pipeline what to tell them."""
        try:
            yield
        except Exception as error:
            if self.runner not in _REMEDIES:
                raise
            jar = f"{self.runner.removesuffix('Runner').lower()}_job_server_jar=FILE"
            raise InputError(
                f"{self.runner} did not take the pipeline: {_reason(error)}. Beam starts a job server, which "
                f"needs Java and its jar, fetched or given by --beam-option {jar}; or name one that runs by "
                f"--beam-option job_endpoint=HOST:PORT. The cluster is named by --beam-option {_REMEDIES[self.runner]}."
            ) from error


def pipelines_of(engine: str, runner: str | None, options: Sequence[str]) -> BeamPipelines | None:
    """Read the flags --engine, --runner and --beam-option.

    Args:
        engine: "local" or "beam".
        runner: None: not given.
        options: see `BeamPipelines`.

    Returns:
        None for the local engine.

    Raises:
        InputError: see `BeamPipelines`; or a flag of Beam comes with the local engine.
    """
    if engine == "beam":
        return BeamPipelines(runner or "DirectRunner", options)
    if runner is not None or options:
        raise InputError("--runner and --beam-option are for --engine beam. Add it, or leave them out.")
    return None


def _flag(option: str) -> str:
    name, equals, value = option.removeprefix("--").partition("=")
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise InputError(f"--beam-option takes NAME=VALUE or NAME. Received: {option!r}.")
    if name == "runner":
        raise InputError(f"The runner is told by --runner, not by --beam-option. Received: {option!r}.")
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
        wanted = " ".join(f"--beam-option {name}=..." for name in missing)
        raise InputError(f"DataflowRunner needs to be told more. Add {wanted}.")


def _reason(error: Exception) -> str:
    """Take the innermost error's own words; Beam wraps them in the traceback of its worker."""
    inner = re.findall(r"(?:^|\n)(?:[\w.]+\.)?(?:InputError|\w+Error|\w+Exception): ([^\n]+)", str(error))
    text = inner[-1] if inner else (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"\s*\[while running .*", "", text).rstrip(".")


class _Complaints:
    """Keeps argparse's usage text from standard error."""

    def __enter__(self) -> None:
        import contextlib
        import io

        self._redirected = contextlib.redirect_stderr(io.StringIO())
        self._redirected.__enter__()

    def __exit__(self, *error: object) -> None:
        self._redirected.__exit__(None, None, None)
