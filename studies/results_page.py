"""Join the reports of studies into one Markdown page. docs/results.md is made by this script, see its first lines."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from laclrec_tf.cli.main import run_app
from laclrec_tf.errors import InputError
from laclrec_tf.files import read_text
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.runtime.tensorflow_startup import import_tensorflow_quietly

_LINK = re.compile(r"(!\[[^\]]*\]\()([^)]+)(\))")


def main(
    studies: Annotated[
        list[Path],
        typer.Argument(
            help="In the order of the page: folders made by `laclrec-tf study`, or study files with packed records in "
            "the folder `records` next to them, e.g. records/beauty-models.npz for beauty_models.yaml."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Markdown file to write. An existing file is replaced.")],
    noise: Annotated[
        list[Path] | None, typer.Option(help="Record of `laclrec-tf noise-curve --json`. Default: none.")
    ] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown file that the page begins with. Default: none.")] = None,
) -> None:
    """Join the reports of studies into one Markdown page."""
    results_page(studies, out, notes, noise or ())
    print(f"wrote {out}")


def results_page(
    studies: Sequence[str | Path],
    page: str | Path,
    notes: str | Path | None = None,
    noise: Sequence[str | Path] = (),
) -> None:
    """Join the reports of studies, one below the other, with links to their plots.

    The page links to the plots in a study's folder. For packed records the report and its plots are made first, and the
    plots that the report shows are written to `results/NAME/` next to the page.

    Args:
        studies: Folders made by `laclrec-tf study` or study files with packed records, in the order of the page.
        page: The Markdown file to write. An existing file is replaced.
        notes: A Markdown file that the page begins with. Default: none; the page begins with the heading "Results".
        noise: Records of `noise_curve`, which become one table behind the notes. Default: none.

    Raises:
        InputError: A study has no report or no records, or a file cannot be read or written.

    Example:
        >>> results_page(["studies/beauty_models.yaml"], "docs/results.md")  # doctest: +SKIP
    """
    page = Path(page)
    parts = ["# Results\n" if notes is None else _read(Path(notes), "Name a Markdown file.")]
    out = ReportFile(page)
    if noise:
        parts.append(noise_table([_curve(Path(file)) for file in noise]))
    for study in map(Path, studies):
        if study.is_file():
            report, folder = _report_of_records(study, page.parent)
        else:
            report, folder = _read(study / "report.md", "Make it with `laclrec-tf study`."), study
        linked = Path(os.path.relpath(folder, page.parent)).as_posix()
        report = _LINK.sub(rf"\g<1>{linked}/\g<2>\g<3>", report)
        # The page has its own first heading: a study's headings go one level down.
        parts.append(re.sub(r"^#", "##", report, flags=re.MULTILINE))
    out.write("\n".join(part.rstrip() + "\n" for part in parts).encode())


def noise_table(curves: Sequence[dict[str, Any]]) -> str:
    """Return a section with a row for each curve, rate and kind of newest event.

    Args:
        curves: Results of `laclrec_tf.evaluation.noise_curve.noise_curve`.

    Returns:
        Markdown text.
    """
    lines = [
        "## Noise that arrives at serving\n",
        "Test ndcg@10 over the whole catalogue. Foreign items are planted in the histories only, drawn by popularity, "
        "also as newest event. In brackets the change over none; p-values are over users.\n",
        "| data | preset, seeds | noise | newest event | users | none | uniform | learned | learned over uniform |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for curve in curves:
        model = f"`{curve['preset']}`, {', '.join(map(str, curve['seeds']))}"
        for row in curve["rows"]:
            gains = row["differences"]
            cells = [curve["data"], model, f"{row['rate'] * 100:.0f} %", row["last"], f"{row['users']:,}"]
            cells.append(_metric(row["none"]["ndcg@10"]))
            for kind in ("uniform", "learned"):
                change = f" ({_percent(gains[f'{kind} - none']['difference'])})" if kind in row else ""
                cells.append(f"{_metric(row[kind]['ndcg@10'])}{change}" if kind in row else "")
            found = gains.get("learned - uniform")
            cells.append(f"{_percent(found['difference'])} ({_p_value(found['p_value'])})" if found else "")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _curve(file: Path) -> dict[str, Any]:
    """Return a record of `noise_curve` that fits the table's text."""
    remedy = "Give a record that `laclrec-tf noise-curve --json` made of test items, popular noise, anywhere."
    try:
        curve: dict[str, Any] = json.loads(_read(file, remedy))
        fits = (curve["split"], curve["kind"], curve["where"]) == ("test", "popular", "anywhere") and "seeds" in curve
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise InputError(f"{file} does not fit. {remedy}")
    return curve


def _metric(value: float) -> str:
    return f"{value:.4f}".lstrip("0")


def _percent(relative: float | None) -> str:
    return "" if relative is None else f"{relative:+.1%}".replace("%", " %")


def _p_value(value: float) -> str:
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".")


def _report_of_records(study: Path, beside: Path) -> tuple[str, Path]:
    """Return the report made from a study's packed records, and the folder with the plots that it shows."""
    import_tensorflow_quietly()
    from laclrec_tf.study.records import unpack_study
    from laclrec_tf.study.study import report_study

    name = study.stem.replace("_", "-")
    folder = beside / "results" / name
    with TemporaryDirectory() as temporary:
        made = Path(temporary) / name
        unpack_study(study.parent / "records" / f"{name}.npz", made)
        report_study(study, made)
        report = (made / "report.md").read_text(encoding="utf-8")
        for _, plot, _ in _LINK.findall(report):
            (folder / plot).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made / plot, folder / plot)
    return report, folder


def _read(file: Path, remedy: str) -> str:
    try:
        return read_text(file)
    except InputError as error:
        raise InputError(f"{error} {remedy}") from None


if __name__ == "__main__":
    run_app(main)
