"""TensorFlow Serving's batching_parameters.txt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.server.batching import BatchingParameters, read_batching_parameters


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "batching_parameters.txt"
    file.write_text(text)
    return file


def test_all_parameters(tmp_path):
    file = written(
        tmp_path,
        """
        max_batch_size { value: 32 }  # rows
        batch_timeout_micros { value: 2500 }
        max_enqueued_batches { value: 100 }
        num_batch_threads { value: 3 }
        thread_pool_name { value: "batches" }
        allowed_batch_sizes: 8
        allowed_batch_sizes: 32
        pad_variable_length_inputs: false
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 32 }
        """,
    )
    assert read_batching_parameters(file) == BatchingParameters(32, 2500, 100, 3)


def test_what_is_not_named_has_tensorflow_servings_default(tmp_path):
    assert read_batching_parameters(written(tmp_path, "")) == BatchingParameters(1000, 0, 10, os.cpu_count() or 1)
    zero = read_batching_parameters(written(tmp_path, "batch_timeout_micros { value: 0 }"))
    assert zero.batch_timeout_micros == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_batch_size: 32", ", line 1, column 17: Expected"),
        ("\nmax_batch { value: 32 }", ", line 2, column 1: "),
        ("max_batch_size { value: 0 }", ": Argument `max_batch_size` must be at least 1. Received: max_batch_size=0."),
        ("batch_timeout_micros { value: -1 }", "must be at least 0. Received: batch_timeout_micros=-1."),
        ("num_batch_threads { }", "Received: num_batch_threads=0."),
        ("max_enqueued_batches { value: 0 }", "Received: max_enqueued_batches=0."),
        ("pad_variable_length_inputs: true", ": pad_variable_length_inputs must stay off."),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [4, 2, 8]", "must increase and end with max_batch_size, 8."),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]", "Received: [2, 4]."),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, text, problem):
    file = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_batching_parameters(file)
    assert str(caught.value).startswith(str(file)) and problem in str(caught.value)
    assert "\n" not in str(caught.value)
