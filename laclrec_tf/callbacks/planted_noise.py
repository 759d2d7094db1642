"""A callback that looks after each epoch how well the augmenter finds planted noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from laclrec_tf.data.simulated import PlantedHistory, planted_ids
from laclrec_tf.evaluation.augmenter_repairs import Deletions, deletions_of
from laclrec_tf.item_vocabulary import ItemVocabulary


class PlantedNoiseWatch(keras.callbacks.Callback):
    """Keep, for each epoch, how likely the augmenter finds it that each planted event is noise.

    It only looks, and draws nothing: training goes on as if nobody watched. One watch may see several `fit`s.

    Args:
        histories: of `planted_histories`.
        vocabulary: the items.

    Attributes:
        epochs: `Deletions` after each epoch so far.

    Example:
        >>> watch = PlantedNoiseWatch(planted_histories(data, "events.truth.csv"), data.vocabulary)  # doctest: +SKIP
        >>> model.fit(batches, epochs=3, callbacks=[watch])  # doctest: +SKIP
        >>> [each.summary()["recall"] for each in watch.epochs]  # doctest: +SKIP
        [0.0, 0.02, 0.11]
    """

    def __init__(self, histories: Sequence[PlantedHistory], vocabulary: ItemVocabulary) -> None:
        super().__init__()
        self.histories, self.is_noise = planted_ids(histories, vocabulary)
        self.epochs: list[Deletions] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look."""
        self.epochs.append(deletions_of(self.model, self.histories, self.is_noise))
