"""Which curves TensorBoard's custom-scalars tab draws together, so that a collapse is seen at a glance."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2, summary

CHARTS = {
    "quality": {
        "validation recall and NDCG at 10": ["epoch_recall@10", "epoch_ndcg@10"],
        "losses": ["epoch_loss", "epoch_.*_loss"],
        "gradient norms relative to the next-item loss": ["epoch_gradient_ratio/.*"],
    },
    "augmenter": {
        "operations on real histories": ["epoch_(keep|delete|insert)_rate", "epoch_augmenter_collapsed"],
        "mean edited length": ["epoch_edited_length"],
        "repairs of broken histories": ["epoch_(deletion_precision|deletion_recall|insertion_accuracy)"],
    },
    "views": {
        "s(raw, learned) and s(raw, random)": ["epoch_similarity_raw_(learned|random)"],
        "share of histories where the learned view is nearer": ["epoch_triplet_accuracy"],
        "alignment and uniformity of user vectors": ["epoch_alignment", "epoch_uniformity"],
    },
}


def write_scalar_layout(folder: Path) -> None:
    """Write the layout as an event of its own run.

    Args:
        folder: of the event file.
    """
    layout = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=category,
                chart=[
                    layout_pb2.Chart(
                        title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"^{tag}$" for tag in tags])
                    )
                    for title, tags in charts.items()
                ],
            )
            for category, charts in CHARTS.items()
        ]
    )
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        tf.summary.experimental.write_raw_pb(summary.pb(layout).SerializeToString(), step=0)
    writer.close()
