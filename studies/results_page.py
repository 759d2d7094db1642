"""Join the reports of studies into one Markdown page, such as docs/results.md."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from laclrec_tf.cli.main import run_app
from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.runtime.output_files import ReportFile

_LINK = re.compile(r"(!\[[^\]]*\]\()([^)]+)(\))")


def main(
    studies: Annotated[
        list[Path], typer.Argument(help="Folders made by `laclrec-tf study`, in the order of the page.")
    ],
    out: Annotated[Path, typer.Option(help="Markdown file to write. An existing file is replaced.")],
    notes: Annotated[Path | None, typer.Option(help="Markdown file that the page begins with. Default: none.")] = None,
) -> None:
    """Join the reports of studies into one Markdown page."""
    results_page(studies, out, notes)
    print(f"wrote {out}")


def results_page(studies: Sequence[str | Path], page: str | Path, notes: str | Path | None = None) -> None:
    """Join what studies reported, one below the other, plots included by links.

    Args:
        studies: folders made by `laclrec-tf study`, in the order of the page.
        page: the Markdown file to write; one that is there is replaced.
        notes: a Markdown file that the page begins with. Default: none, the heading "Results".

    Raises:
        InputError: a study has no report, or a file cannot be read or written.

    Example:
        >>> results_page(["beauty-study"], "docs/results.md")  # doctest: +SKIP
    """
    page = Path(page)
    parts = ["# Results\n" if notes is None else _read(Path(notes), "Name a Markdown file.")]
    for folder in map(Path, studies):
        report = _read(folder / "report.md", "Make it with `laclrec-tf study`.")
        beside = Path(os.path.relpath(folder, page.parent)).as_posix()
        report = _LINK.sub(rf"\g<1>{beside}/\g<2>\g<3>", report)
        # A study's headings go one level down: the page has its own first one.
        parts.append(re.sub(r"^#", "##", report, flags=re.MULTILINE))
    ReportFile(page).write("\n".join(part.rstrip() + "\n" for part in parts).encode())


def _read(file: Path, remedy: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"Cannot read {file}: {reason}. {remedy}") from None


if __name__ == "__main__":
    run_app(main)
