"""What Vertex AI's variables say."""

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.runtime import cloud_storage
from laclrec_tf.vertex.worker import read_training_environment


def test_buckets_become_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(cloud_storage, "MOUNT", tmp_path)
    (tmp_path / "shop").mkdir()
    found = read_training_environment(
        {
            "AIP_MODEL_DIR": "gs://shop/may/model/",
            "AIP_CHECKPOINT_DIR": "gs://shop/may/checkpoints/",
            "AIP_TENSORBOARD_LOG_DIR": "gs://shop/may/logs/",
        }
    )
    assert found.checkpoints == tmp_path / "shop/may/checkpoints"
    assert found.model == tmp_path / "shop/may/model"
    assert found.tensorboard == tmp_path / "shop/may/logs"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "AIP_MODEL_DIR is not set"),
        ({"AIP_MODEL_DIR": "gs://no-such-bucket/m"}, "is not there"),
    ],
)
def test_mistakes(environment, says):
    with pytest.raises(InputError, match=says):
        read_training_environment(environment)
