"""What is refused before a training begins or goes on; nothing here trains."""

from __future__ import annotations

import pytest

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.training.checkpoints import TrainingCheckpoints, TrainingState
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import check_place, finished_before


@pytest.fixture
def kept(tmp_path):
    return TrainingCheckpoints(tmp_path / "run/checkpoints")


def test_resuming_in_a_folder_that_is_something_else_is_refused(tmp_path, kept):
    (tmp_path / "run").mkdir()
    check_place(tmp_path / "run", kept, resume=True)
    (tmp_path / "run/tensorboard").mkdir()  # of a process that was killed before its first epoch
    check_place(tmp_path / "run", kept, resume=True)
    (tmp_path / "run/epochs-strict.csv").touch()
    check_place(tmp_path / "run", kept, resume=True)
    (tmp_path / "run/photo.txt").write_text("mine")
    with pytest.raises(InputError, match=r"run holds photo.txt and no training to go on with"):
        check_place(tmp_path / "run", kept, resume=True)
    (tmp_path / "run/epochs-strict.csv").write_text("epoch,loss\n")
    check_place(tmp_path / "run", kept, resume=True)


def test_beginning_anew_over_checkpoints_or_a_run_is_refused(tmp_path, kept):
    check_place(tmp_path / "run", kept, resume=False)
    kept.write(TrainingState({}, {}))
    check_place(tmp_path / "run", kept, resume=True)
    with pytest.raises(InputError, match="holds checkpoints of a training. Go on with --resume"):
        check_place(tmp_path / "run", kept, resume=False)


def test_a_finished_run_is_taken_for_the_same_training_only(sasrec_run, data, tmp_path):
    prepared = PreparedData.open(data)
    given = {"preset": "sasrec", "width": 16, "epochs": 3, "learning_rate": 0.02, "seed": 3}
    same = TrainConfig.of(given)
    assert finished_before(tmp_path, same, prepared) is None
    assert finished_before(sasrec_run.folder, same, prepared).record == sasrec_run.record
    with pytest.raises(
        InputError, match="the finished run of another training: alpha, contrast_views, learning_rate, preset differ"
    ):
        finished_before(
            sasrec_run.folder, TrainConfig.of(given | {"preset": "cl4srec", "learning_rate": 0.1}), prepared
        )
