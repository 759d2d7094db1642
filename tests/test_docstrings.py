"""Every example in a docstring runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import laclrec_tf

PACKAGE = Path(laclrec_tf.__file__).parent


def modules_with_examples() -> list[str]:
    """Names of the modules with an example that can run here, found without importing them."""
    return [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for file in sorted(PACKAGE.rglob("*.py"))
        if any(">>> " in line and "+SKIP" not in line for line in file.read_text().splitlines())
    ]


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_run(name: str):
    # An example may use what its module imports, and no more.
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0, "the module's text holds an example, so one must be found"
    assert result.failed == 0, "see the captured output"
