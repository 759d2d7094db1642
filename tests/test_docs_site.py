"""The documentation's site: it builds without a warning, and reads without a network."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="`make docs` installs what builds the site")
pytest.importorskip("mkdocstrings", reason="`make docs` installs what builds the site")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def words(text: str) -> str:
    """Return a page's or a notebook's text without markup and white space."""
    return re.sub(r"\s", "", html.unescape(re.sub(r"<[^>]+>", "", text)))


def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"?([^\s\">]+)", text)
        assert loaded
        assert [place for place in loaded if re.match(r"(?:https?:)?//", place)] == [], page.name


def test_examples_of_docstrings_are_code(site):
    page = (site / "api" / "data.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert "&gt;&gt;&gt; vocabulary.eos_id, vocabulary.mask_id, vocabulary.table_size\n(3, 4, 5)" in text
    assert "doctest: +SKIP" not in text


def test_signatures_are_those_that_type_checkers_see(site):
    text = words((site / "api" / "loading.html").read_text(encoding="utf-8"))
    assert "clean(histories:Items)->list[list[str]]clean(histories:IntoDataFrameT,**columns:str|None)->" in text
    assert "clean(histories:Any" not in text


def test_what_only_a_machine_reads_is_left_out(site):
    assert [file for ending in ("npz", "json", "csv", "py") for file in site.rglob(f"results/**/*.{ending}")] == []


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda file: file.stem)
def test_a_notebook_is_a_page_with_what_came_out(site, notebook):
    page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
    text = words(page)
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["source"] for cell in code if words(html.escape("".join(cell["source"]))) not in text] == []
    outputs = [output for cell in code for output in cell["outputs"]]
    printed = ["".join(output["text"]) for output in outputs if output["output_type"] == "stream"]
    assert printed and [each for each in printed if words(html.escape(each)) not in text] == []
    rich = [output["data"] for output in outputs if output["output_type"] != "stream"]
    assert page.count("data:image/png;base64,") == sum("image/png" in data for data in rich)
    assert page.count("<small>shape: (") == sum("text/html" in data for data in rich)
    assert f'href="{notebook.name}"' in page
    assert (site / "notebooks" / notebook.name).read_bytes() == notebook.read_bytes()
    assert f'href="{notebook.stem}.html"' in (site / "notebooks" / "index.html").read_text(encoding="utf-8")
