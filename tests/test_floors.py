"""The house: imports point down, rooms are small, and clients start without TensorFlow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "laclrec_tf"
MAX_MODULES = 15

# What the modules of each room may import of this package, besides their own room.
GROUND = {"errors", "files", "item_vocabulary", "ops", "metrics", "runtime"}
FLOOR_1 = GROUND | {"data", "layers", "losses"}
RUNS = FLOOR_1 | {"lazy_adam", "models", "run_folder", "evaluation", "callbacks"}
SERVING_ROOMS = ("client", "local", "release", "rest", "retriever", "server", "version")
SERVING = {"serving", "serving's exports", *(f"serving/{room}" for room in SERVING_ROOMS)}
FRONT_DOOR = RUNS | SERVING | {"training", "recommender", "recommender_tables"}
ALLOWED = {
    **{room: GROUND for room in GROUND},
    "lazy_adam": GROUND,
    "data": GROUND,
    "layers": GROUND,
    "losses": GROUND,
    "models": GROUND | {"layers", "losses", "lazy_adam"},
    "run_folder": GROUND | {"data", "models"},
    "evaluation": FLOOR_1 | {"models", "run_folder"},
    "callbacks": FLOOR_1 | {"models", "run_folder", "evaluation"},
    "serving": GROUND,
    "serving/client": GROUND | {"serving"},
    "serving/version": GROUND | {"serving"},
    "serving/retriever": GROUND | {"serving", "serving/version"},
    "serving/local": GROUND | {"data", "serving", "serving/client", "serving/retriever", "serving/version"},
    "serving/release": GROUND
    | {"data", "run_folder", "serving", "serving/local", "serving/retriever", "serving/version"},
    "serving/server": GROUND | {"serving", "serving/client", "serving/local", "serving/rest", "serving/version"},
    "serving/rest": GROUND | {"serving", "serving/server"},
    "training": RUNS,
    "recommender_tables": GROUND | {"data"} | SERVING,
    "recommender": RUNS | SERVING | {"recommender_tables"},
    **{room: FRONT_DOOR for room in ("study", "report", "explorer", "benchmark", "beam", "vertex", "demo")},
    "cli": FRONT_DOOR | {"study", "report", "explorer", "benchmark", "beam", "vertex", "demo"},
}


def room_of(module: str) -> str:
    """Return the room of a dotted module name, such as `serving/client` or `data`."""
    _, room, *inside = module.split(".")
    if room != "serving" or not inside or inside[0] in ("__init__", "errors", "history_batch", "tls"):
        return room
    return f"serving/{inside[0]}" if inside[0] in SERVING_ROOMS else "serving's exports"


def imported_modules(file: Path, package: str) -> set[str]:
    """Return the absolute names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def broken_floors(root: Path) -> list[str]:
    """Return a line for each import that points up or sideways."""
    broken = []
    for file in sorted((root / PACKAGE).rglob("*.py")):
        if file.name == "__init__.py":
            continue  # re-exports
        path = file.relative_to(root).with_suffix("").parts
        room = room_of(".".join(path))
        for name in sorted(imported_modules(file, ".".join(path[:-1]))):
            if name.split(".")[0] == "pipelines":
                broken.append(f"{'/'.join(path)} imports {name}")
            # `from laclrec_tf import __version__` names no module.
            if not name.startswith(f"{PACKAGE}.") or name == f"{PACKAGE}.__version__":
                continue
            name = name if name.count(".") > 1 else f"{name}."
            if room_of(name) not in ALLOWED[room] | {room}:
                broken.append(f"{'/'.join(path)} imports {name}")
    return broken


def test_every_import_points_down():
    assert broken_floors(ROOT) == []


def test_every_room_has_a_floor():
    modules = [file.relative_to(ROOT).with_suffix("").parts for file in (ROOT / PACKAGE).rglob("*.py")]
    rooms = {room_of(".".join(parts)) for parts in modules if parts[1:] != ("__init__",)}
    assert rooms == set(ALLOWED)


def test_a_room_holds_at_most_15_modules():
    folders = [folder for folder in (ROOT / PACKAGE).rglob("*") if folder.is_dir()]
    sizes = {
        str(folder.relative_to(ROOT)): sum(f.name != "__init__.py" for f in folder.glob("*.py")) for folder in folders
    }
    assert {folder: size for folder, size in sizes.items() if size > MAX_MODULES} == {}


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("laclrec_tf/ops/edits.py", "from laclrec_tf.layers import SequenceEncoder"),
        ("laclrec_tf/layers/block.py", "import laclrec_tf.losses.contrastive"),
        ("laclrec_tf/layers/block.py", "from ..data import corruption"),
        ("laclrec_tf/data/corruption.py", "def f():\n    from laclrec_tf import models"),
        ("laclrec_tf/serving/retriever/retriever.py", "from laclrec_tf.models.laclrec import LACLRec"),
        ("laclrec_tf/serving/client/client.py", "from laclrec_tf.serving.server import server"),
        ("laclrec_tf/serving/client/client.py", "from laclrec_tf.serving import ModelServer"),
        ("laclrec_tf/evaluation/evaluate.py", "from laclrec_tf.serving.version.metadata import ModelMetrics"),
        ("laclrec_tf/study/study.py", "import laclrec_tf.report.report"),
        ("laclrec_tf/training/train.py", "from laclrec_tf.cli import main"),
        ("laclrec_tf/models/laclrec.py", "import pipelines.local"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, file, code):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(code)
    assert len(broken_floors(tmp_path)) >= 1


def test_clients_and_commands_start_without_tensorflow():
    light = ["cli.main", "runtime.terminal", "runtime.processes", "serving.client.client", "serving.history_batch"]
    light += ["serving.tls", "serving.version.metadata", "explorer.app", "benchmark.load", "benchmark.load_generator"]
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "    assert 'tensorflow' not in sys.modules, name\n"
    names = [f"{PACKAGE}.{name}" for name in light]
    run = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
