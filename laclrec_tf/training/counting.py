"""Count the model of a baseline: a run of seconds, without epochs, batches and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from laclrec_tf.data.item_vectors import follower_counts
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import Protocol, packed_histories
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.ranking import rank_targets
from laclrec_tf.metrics.ranking import ranking_metrics, served_protocol
from laclrec_tf.models import COUNTED_PRESETS, CountModel, preset_arguments
from laclrec_tf.training.config import TrainConfig


def count_run(config: TrainConfig, prepared: PreparedData) -> tuple[CountModel, dict[str, Any], np.ndarray]:
    """Count a run's model, and measure it on validation.

    No user is set aside, because nothing is calibrated.

    Args:
        config: settings of a counted preset.
        prepared: prepared data.

    Returns:
        The model; the record: `trained_on`, `counted` and `validation`, the metrics of the model that is counted on the
        events before the validation item, also of a refit; and `[N]` int64, the number of events of each item.

    Raises:
        InputError: the settings do not fit the data.
    """
    split = prepared.split()
    n_items = prepared.vocabulary.n_items
    arguments = {"max_length": prepared.max_length, "seed": config.seed} | config.model

    def counted(part: Protocol) -> tuple[CountModel, np.ndarray]:
        training = split.training(part)
        try:
            model = count_preset(config.preset, training, n_items, **arguments)
        except ValueError as error:
            raise InputError(str(error)) from None
        return model, np.bincount(np.concatenate(training), minlength=n_items + 1)[1:]

    model, counts = counted("strict")
    before, targets = zip(*split.pairs("validation"), strict=True)
    ranks = rank_targets(model, before, np.array(targets), protocol=served_protocol(model.exclude_history))
    record = {"trained_on": "strict", "counted": True, "validation": ranking_metrics(ranks)}
    if config.refit:
        record["trained_on"] = "refit"
        model, counts = counted("refit")
    return model, record, counts


def count_preset(name: str, histories: Sequence[np.ndarray], n_items: int, **overrides: Any) -> CountModel:
    """Count the model of a preset.

    Args:
        name: one of `COUNTED_PRESETS`.
        histories: per user `[n]` integer ids `1..N`, oldest first; pass training parts only.
        n_items: catalogue size `N`.
        **overrides: arguments of `CountModel` that replace the preset's, and `seed`, see `count_model`.

    Returns:
        The counted model.

    Raises:
        InputError: the preset is unknown or is not counted, or an id is not in `1..N`.
        ValueError: an argument is out of its range.

    Example:
        >>> model = count_preset("recent", [np.array([1, 2])], n_items=3)
        >>> model.recommend([[1, 3]], exclude_history=False)[0].numpy().tolist()
        [[3, 1, 2]]
    """
    if name not in COUNTED_PRESETS:
        raise InputError(f"Argument `name` must be one of {', '.join(COUNTED_PRESETS)}. Received: {name!r}.")
    return count_model(histories, n_items, **(preset_arguments(name) | overrides))


def count_model(histories: Sequence[np.ndarray], n_items: int, *, seed: int = 0, **arguments: Any) -> CountModel:
    """Count a `CountModel`.

    Args:
        histories: per user `[n]` integer ids `1..N`, oldest first; pass training parts only.
        n_items: catalogue size `N`.
        seed: seed of the order of items with the same number of events. Their ids must not decide: a vocabulary is
            sorted by all events, also those that are held out. Default: 0.
        **arguments: arguments of `CountModel`.

    Returns:
        The counted model.

    Raises:
        InputError: an id is not in `1..N`.
        ValueError: an argument is out of its range.

    Example:
        >>> model = count_model([np.array([1, 3, 2]), np.array([1, 3])], n_items=3, n_last=1)
        >>> model.recommend([[1]], k=2)[0].numpy().tolist()
        [[3, 2]]
    """
    model = CountModel(n_items, **arguments)
    histories = packed_histories(histories, n_items)
    item_ids = np.concatenate([np.zeros(0, np.int32), *histories])
    counts = np.bincount(item_ids, minlength=n_items + 1)[1:]
    order = np.lexsort((np.random.default_rng(seed).random(n_items), -counts))
    if not model.has_neighbours:
        model.set_counts(order + 1)
        return model
    events = np.maximum(counts, 1).astype(np.float64)
    of_item, of_follower = (scipy.sparse.diags_array(events**-power) for power in (0.5, model.discount))
    weights = of_item @ follower_counts(histories, n_items, model.max_distance) @ of_follower
    model.set_counts(order + 1, *_largest(scipy.sparse.csr_array(weights), model.n_neighbours, np.argsort(order)))
    return model


def _largest(weights: scipy.sparse.csr_array, n: int, places_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids and values, `[N, n]` int32 and float32, of each row's largest weights, 0 for none.

    Of equal weights, that of the item with the smaller number in `places_of` `[N]` counts as the larger one.
    """
    rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    order = np.lexsort((places_of[weights.indices], -weights.data, rows))
    places = np.arange(len(order)) - weights.indptr[rows]
    kept = places < n
    item_ids, values = np.zeros((weights.shape[0], n), np.int32), np.zeros((weights.shape[0], n), np.float32)
    item_ids[rows[kept], places[kept]] = weights.indices[order][kept] + 1
    values[rows[kept], places[kept]] = weights.data[order][kept]
    return item_ids, values
