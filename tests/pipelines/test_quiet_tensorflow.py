"""Start-up is silent, errors are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# As in a notebook, Python's standard error is not the one that TensorFlow's libraries write to.
CODE = """
import os, sys
sys.stderr = open(os.dup(2), "w")
sys.path.insert(0, {root!r})
from laclrec_tf.runtime.tensorflow_startup import import_tensorflow_quietly
import_tensorflow_quietly()
print("tensorflow" in sys.modules)
print("heard", file=sys.stderr)
"""


def test_importing_tensorflow_says_nothing_and_standard_error_comes_back():
    code = CODE.format(root=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert done.stderr == "heard\n"
