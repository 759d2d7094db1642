"""The files of TensorBoard's embedding projector, read back."""

from __future__ import annotations

import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from laclrec_tf.callbacks.item_projector import ItemProjector


def test_item_vectors_have_names_and_the_most_frequent_are_written(sasrec_run, tmp_path):
    counts = sasrec_run.popularity
    projector = ItemProjector(tmp_path, sasrec_run.vocabulary, counts, max_items=20)
    projector.set_model(sasrec_run.model)
    projector.on_train_end()
    (embedding,) = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig()).embeddings
    header, *lines = (tmp_path / embedding.metadata_path).read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    assert header == "item\tevents" and len(rows) == 20
    assert [int(count) for _, count in rows] == sorted(counts.tolist(), reverse=True)[:20]
    vectors = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t")
    ids = sasrec_run.vocabulary.to_ids(item for item, _ in rows)
    np.testing.assert_allclose(vectors, sasrec_run.model.item_vectors.numpy()[ids], rtol=0.01)
