"""The direction of the imports: nothing below knows what is above it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What each part of the package may import of the project, beside itself.
GROUND = {
    "errors",
    "file_digest",
    "item_vocabulary",
    "masking",
    "edits",
    "metrics",
    "replicas",
    "table_rows",
    "best_rows",
    "significance",
    "grouped_metrics",
    "list_metrics",
    "calibration",
}
ALLOWED = {
    **{name: GROUND for name in GROUND},
    "lazy_adam": GROUND,
    "data": GROUND,
    "layers": GROUND,
    "losses": GROUND,
    "models": GROUND | {"layers", "losses", "lazy_adam"},
    "evaluation": GROUND | {"layers", "losses", "models"},
    "serving": GROUND,
    "run_folder": GROUND | {"data", "models"},
    "history_tables": GROUND | {"data"},
    "answer_columns": GROUND | {"serving"},
    "recommender": GROUND | {"answer_columns", "data", "history_tables", "serving"},
    "loading": GROUND | {"recommender", "run_folder", "serving"},
}


def imported_modules(file: Path, package: str) -> set[str]:
    """Absolute names of all modules a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names} | {base}
    return names


def broken_floors(root: Path) -> list[str]:
    """One line for each import that points up or sideways."""
    broken = []
    for file in sorted((root / "laclrec_tf").rglob("*.py")):
        path = file.relative_to(root).with_suffix("").parts
        if path == ("laclrec_tf", "__init__"):
            continue  # re-exports
        part, package = path[1], ".".join(path[:-1])
        for name in sorted(imported_modules(file, package)):
            pieces = name.split(".")
            if pieces[0] == "pipelines":
                broken.append(f"{'/'.join(path)} imports {name}")
            if pieces[0] != "laclrec_tf" or len(pieces) < 2 or pieces[1] == part:
                continue
            if pieces[1] not in ALLOWED[part]:
                broken.append(f"{'/'.join(path)} imports {name}")
    return broken


def test_every_import_points_down():
    assert broken_floors(ROOT) == []


def test_every_part_has_a_floor():
    parts = {
        file.stem for file in (ROOT / "laclrec_tf").iterdir() if file.suffix == ".py" or (file / "__init__.py").exists()
    }
    assert parts - {"__init__"} == set(ALLOWED)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("laclrec_tf/ops/edits.py", "from laclrec_tf.layers import SequenceEncoder"),
        ("laclrec_tf/layers/block.py", "import laclrec_tf.losses.contrastive"),
        ("laclrec_tf/layers/block.py", "from ..data import corruption"),
        ("laclrec_tf/data/corruption.py", "def f():\n    from laclrec_tf import models"),
        ("laclrec_tf/serving/retriever/retriever.py", "from laclrec_tf.models.laclrec import LACLRec"),
        ("laclrec_tf/models/laclrec.py", "import laclrec_tf.training.train"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, file, code):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(code)
    assert len(broken_floors(tmp_path)) >= 1
