"""This package as a source distribution, for machines that have none of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import laclrec_tf
from laclrec_tf.errors import InputError

FILE_NAME = f"laclrec_tf-{laclrec_tf.__version__}.tar.gz"


def build_source_distribution(out: Path, *, source: Path | None = None) -> Path:
    """Build the source distribution of the checkout that this runs from.

    Args:
        out: the folder to write it into.
        source: the checkout, the folder of `setup.py`. Default: the one that this module lies in.

    Returns:
        The file.

    Raises:
        InputError: this runs from an installation without its sources, or the build failed.

    Example:
        >>> build_source_distribution(Path("dist"))  # doctest: +SKIP
        PosixPath('dist/laclrec_tf-0.1.0.tar.gz')
    """
    source = source or Path(__file__).parents[1]
    if not (source / "setup.py").is_file():
        raise InputError(
            f"{source} has no setup.py to build the package of: run from a checkout, or give --package gs://...tar.gz."
        )
    with tempfile.TemporaryDirectory() as scratch:  # what setuptools notes stays out of the checkout
        command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", scratch]
        command += ["sdist", "--formats", "gztar", "--dist-dir", f"{scratch}/dist"]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        made = list(Path(scratch, "dist").glob("*.tar.gz"))
        if done.returncode or not made:
            reason = (done.stderr.strip().splitlines() or ["no file came out"])[-1]
            raise InputError(
                f"The source distribution could not be built: {reason}. Mend it, or give --package gs://...tar.gz."
            )
        out.mkdir(parents=True, exist_ok=True)
        # Older setuptools write a hyphen for the underscore.
        return Path(shutil.copy(made[0], out / FILE_NAME))
