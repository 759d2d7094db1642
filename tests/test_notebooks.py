"""The notebooks as they are committed; `make notebooks` runs them."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = ("01_quickstart", "02_look_inside_the_augmenter", "03_serve_and_query", "04_your_own_data", "05_vertex_ai")
LARGEST, LARGEST_IN_ALL = 200_000, 600_000
# A place on somebody's disk: /home/me, /tmp/x, C:\Users. A gcs mount and a route of REST are none.
ABSOLUTE_PATH = re.compile(r"(?<![\w:/.])/(?:home|root|tmp|Users|var|usr|opt|mnt|work|private)\b/?|[A-Z]:\\\\")


@pytest.fixture(scope="module", params=NAMES)
def notebook(request) -> dict[str, Any]:
    return json.loads((NOTEBOOKS / f"{request.param}.ipynb").read_text(encoding="utf-8"))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_these_are_all_and_they_are_small():
    files = sorted(NOTEBOOKS.glob("*.ipynb"))
    assert [file.stem for file in files] == list(NAMES)
    sizes = [file.stat().st_size for file in files]
    assert max(sizes) < LARGEST and sum(sizes) < LARGEST_IN_ALL


def test_it_was_run_once_from_top_to_bottom_without_an_error(notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert len(outputs) >= 5
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}


def test_nothing_was_written_to_standard_error(notebook):
    """Warnings, notes of TensorFlow's, progress bars: all of them would stand there."""
    streams = [
        output for cell in code_cells(notebook) for output in cell["outputs"] if output["output_type"] == "stream"
    ]
    assert [output["text"] for output in streams if output["name"] != "stdout"] == []


def test_it_defines_nothing(notebook):
    for cell in code_cells(notebook):
        tree = ast.parse("".join(cell["source"]))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]


def test_it_reads_like_a_text(notebook):
    cells = notebook["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    texts = [cell for cell in cells if cell["cell_type"] == "markdown"]
    assert len(texts) >= 0.4 * len(cells)


def test_it_tells_nothing_of_the_machine_it_was_run_on(notebook):
    text = json.dumps([cell for cell in notebook["cells"]])
    assert not ABSOLUTE_PATH.findall(text)
    assert notebook["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert all(cell["metadata"] == {} for cell in notebook["cells"])


def test_its_links_lead_somewhere(notebook):
    text = "".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (NOTEBOOKS / link).exists(), link
