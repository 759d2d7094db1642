"""The command line `laclrec-tf`: each command calls one function of `laclrec_tf` and prints its result.

TensorFlow takes seconds to import, so a command imports the function when it runs, and `--help` answers at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from laclrec_tf import __version__
from laclrec_tf.cli.cloud import vertex_app
from laclrec_tf.cli.measuring import measuring_app
from laclrec_tf.cli.options import Commands, place_option
from laclrec_tf.cli.serving import serving_app
from laclrec_tf.cli.training import training_app
from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.runtime.terminal import escape_controls, readable_warnings, terminal

app = Commands(
    help="LACLRec: sequential recommendation with a learned augmenter.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (training_app, measuring_app, serving_app):
    app.add_typer(group)
app.add_typer(vertex_app, name="vertex")
INTERRUPTED = 130
# Commands and options of earlier versions, and what replaces them.
MOVED = {
    "kubeflow": "`laclrec-tf kubeflow` is now `python pipelines/kubeflow.py`, run from a checkout of the repository. "
    "pipelines/README.md there has the commands.",
    "page": "The command `page` is now a script of the repository. Run: python studies/results_page.py --help",
    "benchmark --without": "`laclrec-tf benchmark --without` was removed. docs/performance.md has what it measured.",
    "loadtest --malformed": "`laclrec-tf loadtest --malformed` is now a test of the server in the repository. "
    "Run: pytest tests/serving/server/test_malformed_requests.py",
}


def _print_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that belong to no command."""


@app.command()
def demo(
    folder: Annotated[
        Path | None, place_option(help="Folder to keep the results in. Default: a temporary folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated events and of training.", min=0)] = 0,
) -> None:
    """Run every stage on simulated events: prepare, train, evaluate, export, serve and recommend."""
    from laclrec_tf.demo import demo as run_demo

    run_demo(folder, seed=seed)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, see `run_app`.

    Args:
        arguments: arguments of the command line. Default: those of the process.
    """
    run_app(app, "laclrec-tf", arguments)


def run_app(
    app: typer.Typer | Callable[..., object], program: str | None = None, arguments: list[str] | None = None
) -> NoReturn:
    """Run a program: a typer app, or a function whose parameters are its arguments and options.

    Before such a function runs, TensorFlow is imported without its start-up messages.

    A user's mistake is one line on standard error and exit code 2; a warning of this package is one line too. A program
    that is interrupted or terminated deletes half-written files and exits with code 130. Without arguments it prints
    its help.

    Args:
        app: the app or the function.
        program: name in help and errors. Default: name of the file that Python runs.
        arguments: arguments of the program. Default: those of the process.
    """
    program = program or Path(sys.argv[0]).name
    arguments = sys.argv[1:] if arguments is None else arguments
    if not isinstance(app, typer.Typer):
        function, app = app, Commands(add_completion=False, pretty_exceptions_enable=False)
        app.command()(function)
    status: int | None
    # SIGTERM raises an exception like SIGINT, so that the code it passes through deletes half-written files.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with readable_warnings(terminal(stderr=True)):
            status = app(arguments or ["--help"], prog_name=program, standalone_mode=False)
    except (InputError, typer.TyperException) as error:
        moved = _moved(arguments) if program == "laclrec-tf" else None
        message = str(error) if isinstance(error, InputError) else moved or error.format_message()
        print(f"{program}: {escape_controls(' '.join(message.split()))}", file=sys.stderr)
        status = 2
    except OSError as error:
        what = f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error)
        print(f"{program}: {escape_controls(what)}. Check the path, its permissions and the disk.", file=sys.stderr)
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    if status == INTERRUPTED:  # typer itself turns a KeyboardInterrupt into this code
        print(f"{program}: interrupted", file=sys.stderr)
    sys.exit(status or 0)


def _moved(arguments: list[str]) -> str | None:
    command, *others = arguments or [""]
    given = {command, *(f"{command} {each.split('=')[0]}" for each in others)}
    return next((text for name, text in MOVED.items() if name in given), None)


if __name__ == "__main__":
    main()
