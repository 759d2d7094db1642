"""TensorFlow Serving's models.config and batching_parameters.txt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.server.batching import BatchingParameters
from laclrec_tf.serving.server.config_files import read_batching_parameters, read_model_config

SHOP = 'name: "shop" base_path: "/models/shop" model_platform: "tensorflow"'


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "file.config"
    file.write_text(text, encoding="utf-8")
    return file


def test_everything_that_a_server_needs_is_read(tmp_path):
    config = read_model_config(
        written(
            tmp_path,
            f"""
            # comments are read over
            model_config_list {{
              config {{ {SHOP}
                model_version_policy {{ specific {{ versions: 3 versions: 7 }} }}
                version_labels {{ key: "stable" value: 3 }}
                version_labels {{ key: "canary" value: 7 }}
              }}
              config: < name: 'music' base_path: 'music' model_type: TENSORFLOW
                model_version_policy < latest < num_versions: 2 > > >
            }}
            """,
        )
    )
    shop, music = config.model_config_list.config
    assert (shop.name, shop.base_path, shop.model_platform) == ("shop", "/models/shop", "tensorflow")
    assert list(shop.model_version_policy.specific.versions) == [3, 7]
    assert dict(shop.version_labels) == {"stable": 3, "canary": 7}
    assert music.model_version_policy.latest.num_versions == 2
    assert (music.base_path, music.model_platform, music.model_type) == (str(tmp_path / "music"), "tensorflow", 0)


def test_a_bucket_is_no_relative_path(tmp_path):
    text = 'model_config_list { config { name: "a" base_path: "gs://bucket/a" model_platform: "tensorflow" } }'
    assert read_model_config(written(tmp_path, text)).model_config_list.config[0].base_path == "gs://bucket/a"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", " names no model. An example: model_config_list"),
        ("model_config_list { }", " names no model."),
        ("custom_model_config { }", ": custom_model_config is not supported."),
        ("model_config_list {\n config {\n  nme: 'a'\n } }", ", line 3, column 3: "),
        ("model_config_list {\n config {\n", ', line 2, column 9: Expected "}". An example: '),
        ("model_config_list { config { name: 3 } }", ", line 1, column 36: Expected string but found: '3'"),
        ('model_config_list {\n\n config { base_path: "a" } }', ', line 3: a model has no name. Add name: "NAME".'),
        ('model_config_list { config { name: "a" } }', ", line 1: the model 'a' has no base_path."),
        (
            f"model_config_list {{\n config {{ {SHOP} }}\n config {{ {SHOP} }} }}",
            ", line 3: the model 'shop' is listed twice.",
        ),
        (
            f"model_config_list {{ config: [{{ {SHOP} }}, {{ {SHOP} }}] }}",
            ", model 2: the model 'shop' is listed twice.",
        ),
        (
            'model_config_list { config { name: "a" base_path: "b" model_platform: "torch" } }',
            'must have model_platform: "tensorflow". Received: name: "a" base_path: "b" model_platform: "torch".',
        ),
        ('model_config_list { config { name: "a" base_path: "b" } }', 'must have model_platform: "tensorflow".'),
        (
            f"model_config_list {{ config {{ {SHOP} model_version_policy {{ specific {{ }} }} }} }}",
            "must list its versions, each once and none below 0, such as specific { versions: 1 versions: 2 }. "
            "Received: [].",
        ),
        (
            f"model_config_list {{ config {{ {SHOP} model_version_policy {{ specific {{ versions: [2, 2] }} }} }} }}",
            "Received: [2, 2].",
        ),
        (
            f"model_config_list {{ config {{ {SHOP} model_version_policy {{ specific {{ versions: -1 }} }} }} }}",
            "Received: [-1].",
        ),
        (
            f"model_config_list {{ config {{ {SHOP} model_version_policy {{ latest {{ num_versions: -1 }} }} }} }}",
            "Value out of range: -1.",
        ),
        (
            f'model_config_list {{ config {{ {SHOP} version_labels {{ key: "" value: 3 }} }} }}',
            "label '' of model 'shop' must have a name and a version >= 0.",
        ),
        (
            f"model_config_list {{ config {{ {SHOP} version_labels {{ key: 'new' value: 3 }} "
            "model_version_policy { specific { versions: 1 versions: 2 } } } }",
            "label 'new' of model 'shop' names version 3, which its version policy does not serve. Served: 1, 2.",
        ),
    ],
)
def test_a_mistake_in_models_has_its_place(tmp_path, text, problem):
    file = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_model_config(file)
    message = str(caught.value)
    assert message.startswith(str(file)) and problem in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read(tmp_path):
    for file, problem in ((tmp_path / "missing", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=f"Cannot read {file}: {problem}"):
            read_model_config(file)
    latin = tmp_path / "latin"
    latin.write_bytes("# für".encode("latin-1"))
    with pytest.raises(InputError, match="latin, line 1: byte 4 is not UTF-8"):
        read_model_config(latin)


def test_all_batching_parameters(tmp_path):
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


def test_a_batching_parameter_that_is_not_named_has_tensorflow_servings_default(tmp_path):
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
def test_a_mistake_in_batching_parameters_has_its_place(tmp_path, text, problem):
    file = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_batching_parameters(file)
    assert str(caught.value).startswith(str(file)) and problem in str(caught.value)
    assert "\n" not in str(caught.value)
