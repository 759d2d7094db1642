"""The distributions: their files, their requirements, and an installation next to a user's own packages."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import pytest

import laclrec_tf
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving import RetrievalClient
from laclrec_tf.vertex.submit import build_source_distribution

ROOT = Path(__file__).parents[1]


def test_installed_version_and_console_script():
    assert version("laclrec-tf") == laclrec_tf.__version__
    (script,) = entry_points(group="console_scripts", name="laclrec-tf")
    assert script.value == "laclrec_tf.cli.main:main"


def test_constraints_pin_every_requirement():
    def normal(name):
        return re.sub(r"[-_.]+", "-", name).lower()

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+", line) for line in lines)
    pinned = {normal(line.split("==")[0]) for line in lines}
    required = {normal(re.match(r"[A-Za-z0-9._-]+", text).group()) for text in requires("laclrec-tf")}
    assert required <= pinned


def test_a_users_tf_keras_stays_keras_3():
    code = "import laclrec_tf.models, laclrec_tf.serving, tensorflow as tf; print(tf.keras.__version__)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.startswith("3.")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Return the source distribution, and the wheel built from it."""
    folder = tmp_path_factory.mktemp("distributions")
    source = build_source_distribution(folder)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", "--no-index"]
    built = [*pip, "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(built, check=True, capture_output=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return source, wheel


def test_the_wheel_has_one_package_and_all_its_files(distributions):
    names = set(zipfile.ZipFile(distributions[1]).namelist())
    assert {name.partition("/")[0] for name in names} == {
        "laclrec_tf",
        f"laclrec_tf-{laclrec_tf.__version__}.dist-info",
    }
    package = [path for path in (ROOT / "laclrec_tf").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    in_checkout = {path.relative_to(ROOT).as_posix() for path in package}
    assert {name for name in names if name.startswith("laclrec_tf/")} == in_checkout
    assert {Path(name).suffix for name in in_checkout} == {".py", ".pyi", ".typed", ".css", ".html"}


def test_the_source_distribution_can_be_built_again(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "README.md", "laclrec_tf/__init__.py"} <= names
    assert not [name for name in names if name.startswith(("pipelines", "tests", "studies"))]


def test_a_folder_named_pipelines_disturbs_nothing(data, sasrec_export, tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/__init__.py").write_text("raise ImportError('not of laclrec_tf')\n")
    outside = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", *(outside or [str(ROOT)])])}
    command = [sys.executable, "-m", "laclrec_tf.cli.main"]

    def run(*arguments):
        given = [*command, *map(str, arguments)]
        return subprocess.run(given, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)

    assert run("--version").stdout == f"{laclrec_tf.__version__}\n"
    small = ["preset=sasrec", "width=8", "epochs=1", "n_recommender_blocks=0"]
    run("train", data, "--out", "run", *(f"--set={setting}" for setting in small))
    assert RunFolder.open(tmp_path / "run").record["epochs_run"] == 1

    serve = [*command, "serve", str(sasrec_export), "--port", "0"]
    with subprocess.Popen(serve, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            (address,) = re.findall(r"serving shop on (\S+:\d+)", server.stderr.readline())
            with RetrievalClient(address, "shop") as client:
                (answer,) = client.recommend([["item-1"]], k=3)
            assert len(answer.item_ids) == 3
        finally:
            server.terminate()
