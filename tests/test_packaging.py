"""What an installation must hold."""

import re
import subprocess
import sys
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import laclrec_tf

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
