"""The defaults that docs/serving.md states are those of the code."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from laclrec_tf.serving.server.batching import BatchingParameters
from laclrec_tf.serving.server.config_files import read_batching_parameters, tensorflow_serving_defaults
from laclrec_tf.serving.server.limits import MAX_COPIED_ELEMENTS, RequestLimits
from laclrec_tf.serving.server.prediction import MAX_ELEMENTS, MAX_REPEATED, MAX_ROWS

PAGE = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()


def number(text: str) -> int:
    """Read `1,024 ...`."""
    return int(text.split()[0].replace(",", ""))


@pytest.mark.parametrize(
    ("name", "default"),
    [*asdict(RequestLimits()).items(), ("max_enqueued_batches", BatchingParameters().max_enqueued_batches)],
)
def test_the_defaults_of_limits(name, default):
    (row,) = re.findall(rf"^\| `{name}`:[^|]*\|([^|]*)\|", PAGE, re.MULTILINE)
    assert number(row) == default


def test_the_fixed_limits():
    one_input, repeated, copied = re.findall(r"^\| fixed:[^|]*\|([^|]*)\|", PAGE, re.MULTILINE)
    assert [number(part) for part in one_input.split(" and ")] == [MAX_ROWS, MAX_ELEMENTS]
    assert (number(repeated), number(copied)) == (MAX_REPEATED, MAX_COPIED_ELEMENTS)


def test_the_batching_file_holds_the_defaults(monkeypatch, tmp_path):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    (block,) = re.findall(r"```\n(max_batch_size.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "batching_parameters.txt"
    file.write_text(block)
    assert asdict(read_batching_parameters(file)) == asdict(BatchingParameters())
    left_out = BatchingParameters(**tensorflow_serving_defaults())
    others = (left_out.max_batch_size, left_out.batch_timeout_micros, left_out.max_enqueued_batches)
    assert f"({', '.join(map(str, others))}, one thread for each processor)" in PAGE
