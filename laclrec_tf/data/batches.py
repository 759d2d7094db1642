"""Batches for training and evaluation: seeded, bucketed by length, padded, with random views and corruptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.data.buckets import BOUNDARIES, batch_sizes, count_batches
from laclrec_tf.data.corruption import CORRUPTION_NOISE, CorruptionNoise, corrupt, item_popularity
from laclrec_tf.data.random_views import DEFAULT_KINDS, random_view
from laclrec_tf.data.splits import WINDOWS, Window, all_windows, packed_histories
from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.ops.masking import as_int32, history_lengths, is_item, pack_histories, take_prefixes

PARALLEL_CALLS = 2
PREFETCHED_BATCHES = 4


def training_dataset(
    histories: Sequence[np.ndarray] | tf.data.Dataset,
    *,
    n_items: int,
    max_length: int | None = None,
    window: Window = "last",
    targets_per_batch: int = 512,
    n_random_views: int = 0,
    random_kinds: Sequence[str] = DEFAULT_KINDS,
    similar_items: tf.Tensor | None = None,
    corruption: bool = False,
    p_keep: float = 0.40,
    p_delete: float = 0.45,
    max_insertions: int = 5,
    max_edited_length: int = 60,
    corruption_noise: CorruptionNoise = "uniform",
    prefix_share: float = 0.0,
    static_shapes: bool = False,
    cache: bool = True,
    seed: int = 0,
    position: tf.Variable | None = None,
    steps: int | None = None,
) -> tf.data.Dataset:
    """Make training batches from histories.

    Every pass over the dataset draws a new order, new views and new corruptions; two datasets with the same arguments
    draw the same ones.

    Args:
        histories: per user `[n]` int32 ids, oldest first; the last item is a target only. A list of arrays, or a
            dataset if they do not fit in memory. Padding (0) may be anywhere and is left out. Histories of fewer than
            two items have no target and are skipped.
        n_items: catalogue size `N`.
        max_length: max length of a history without its last item, which is a target only. Default: None, histories are
            not cut.
        window: with `max_length`, what is used of longer histories: "last" the last items, "sliding" all items, each
            history as several, see `training_windows`. Default: "last".
        targets_per_batch: approximate number of next-item targets in a batch, so a batch of long histories has fewer
            histories, see `batch_sizes`. With the same number of histories in all batches, a target of a long history
            would weigh a tenth of a target of a short one in the mean over a batch. Default: 512.
        n_random_views: number of random views: 0, 1 (`random_view`) or 2 (also `random_view_2`). Default: 0.
        random_kinds: operations of random views, see `random_view`. Default: "crop", "mask" and "reorder".
        similar_items: `[N + 3]` integer ids, see `random_view`; required for "substitute". Default: None.
        corruption: add `corrupted`, `operations` and `insertions`. Default: False.
        p_keep: see `corrupt`. Default: 0.40.
        p_delete: see `corrupt`. Default: 0.45.
        max_insertions: see `corrupt`. Default: 5.
        max_edited_length: max length `M` of a corrupted history. Default: 60.
        corruption_noise: "uniform" draws inserted items with equal probability, "popular" in proportion to their
            numbers of events in `histories`, which a dataset is read for once more. Default: "uniform".
        prefix_share: share of a history's prefixes that are used in the contrastive losses; they are drawn uniformly
            each time. In a batch, `P` is this share of the longest history, but at least 1. Default: 0, one prefix of
            each history.
        static_shapes: pad every batch to the max length of its bucket, so that a compiler sees one shape for each
            bucket (and one for each bucket's last, smaller batch); a corrupted history then has at most twice as many
            items as the bucket's max length. Requires `histories` as a list. Default: False.
        cache: keep the histories of a dataset in memory after the first pass; a list is in memory already. Default:
            True.
        seed: seed of order, views and corruptions. Default: 0.
        position: `[2]` int64 variable, read when a pass begins: the number of its epoch, and the number of batches to
            skip at the start of that epoch. The draws of an epoch depend only on `seed` and its number, so training can
            resume in the middle of an epoch. Default: None, each pass is another epoch.
        steps: with `position`, the number of batches to which each epoch is cut, and a pass continues with the next
            epochs without end, so that several workers do the same number of steps. Default: None, a pass is one whole
            epoch.

    Returns:
        A dataset of dicts: `history` and `target` `[B, L]` int32, and as requested `prefix_lengths [B, P]`,
        `random_view` and `random_view_2` `[B * P, L]`, `corrupted` and `operations` `[B, C]` and
        `insertions [B, C, K]`, where `C` is the length of the longest corrupted history of the batch.

    Raises:
        ValueError: `histories` are not arrays of integer ids of 1 to `n_items`, `targets_per_batch` is below 1,
            `prefix_share` is outside [0, 1], `n_random_views` is not 0, 1 or 2, `window` or `corruption_noise` is
            unknown, or `static_shapes` is used with a dataset, whose longest history is not known. An id out of range
            in a dataset is an error of its pass.

    Example:
        >>> batch = next(iter(training_dataset([np.array([5, 6, 7, 8])], n_items=20)))
        >>> batch["history"].numpy().tolist(), batch["target"].numpy().tolist()
        ([[5, 6, 7]], [[6, 7, 8]])
    """
    if targets_per_batch < 1:
        raise ValueError(f"Argument `targets_per_batch` must be at least 1. Received: {targets_per_batch}.")
    if not 0 <= prefix_share <= 1:
        raise ValueError(f"Argument `prefix_share` must be between 0 and 1. Received: {prefix_share}.")
    if n_random_views not in (0, 1, 2):
        raise ValueError(f"Argument `n_random_views` must be 0, 1 or 2. Received: {n_random_views}.")
    if window not in WINDOWS:
        raise ValueError(f"Argument `window` must be 'last' or 'sliding'. Received: {window!r}.")
    if corruption_noise not in CORRUPTION_NOISE:
        raise ValueError(f"Argument `corruption_noise` must be 'uniform' or 'popular'. Received: {corruption_noise!r}.")

    boundaries = BOUNDARIES
    if isinstance(histories, tf.data.Dataset):
        histories = histories.map(lambda item_ids: _packed_history(item_ids, n_items))
        counted = histories
        if max_length is not None:
            histories = histories.flat_map(lambda item_ids: _windows_of(item_ids, max_length, window))
        if static_shapes:
            raise ValueError("Argument `static_shapes` requires `histories` as a list of arrays. Received: a dataset.")
        n_batches, flat = tf.data.UNKNOWN_CARDINALITY, None
        rows = histories.filter(lambda item_ids: tf.size(item_ids) >= 2)
        if cache:
            rows = rows.cache()
    else:
        histories = counted = packed_histories(histories, n_items)
        histories = all_windows(histories, max_length, window)
        n_batches = count_batches(histories, targets_per_batch, max_length)
        flat = FlatHistories([history for history in histories if len(history) >= 2])
        rows = tf.data.Dataset.from_tensor_slices(flat.bounds)
        if static_shapes:
            # The last bucket also needs a max length: the length of the longest history.
            longest = max([2, *(len(history) for history in histories)])
            boundaries = [*(end for end in BOUNDARIES if end <= longest), longest + 1]
    popularity = None
    if corruption and corruption_noise == "popular":
        popularity = item_popularity(histories if window == "last" else counted, n_items)
    # One size more than boundaries. With static shapes the last is never used: no history is beyond the last boundary.
    sizes = [*batch_sizes(targets_per_batch, max_length), 1][: len(boundaries) + 1]

    @tf.autograph.experimental.do_not_convert
    def epoch_of(epoch_seed: tf.Tensor, left_out: tf.Tensor) -> tf.data.Dataset:
        # The seed of this function's graph: otherwise the process's seed matters, and a process seed of 0 fails.
        tf.random.set_seed(1)
        order, mixing, views = tf.unstack(tf.random.stateless_uniform([3], epoch_seed, None, None, tf.int64))
        batches = rows.shuffle(100_000, seed=order, reshuffle_each_iteration=False).bucket_by_sequence_length(
            tf.size if flat is None else _length_between, boundaries, sizes
        )
        # A bucket yields a batch when it is full, so batches come in order of length; shuffle them.
        batches = batches.shuffle(16, seed=mixing, reshuffle_each_iteration=False)
        batches = tf.data.Dataset.zip(batches, tf.data.Dataset.random(seed=views).batch(2)).skip(left_out)
        return batches if steps is None else batches.take(steps)

    @tf.autograph.experimental.do_not_convert
    def add_views(rows: tf.Tensor, seed_pair: tf.Tensor) -> dict[str, tf.Tensor]:
        items = rows
        if flat is not None:
            items = flat.gather(rows, _bucket_end(rows, boundaries) if static_shapes else None)
        view_seed, other_seed, corruption_seed, prefix_seed = tf.unstack(
            tf.random.experimental.stateless_split(seed_pair, 4), num=4
        )
        target = items[:, 1:]
        history = tf.where(target > 0, items[:, :-1], 0)
        batch = {"history": history, "target": target}
        if n_random_views:
            lengths = _prefix_lengths(history, prefix_share, prefix_seed)
            prefixes = take_prefixes(history, lengths)
            batch["prefix_lengths"] = lengths
            for name, seed_of_view in [("random_view", view_seed), ("random_view_2", other_seed)][:n_random_views]:
                batch[name] = random_view(
                    prefixes,
                    mask_id=n_items + 2,
                    seed=seed_of_view,
                    kinds=random_kinds,
                    similar_items=similar_items,
                )
        if corruption:
            width = tf.minimum(max_edited_length, 2 * tf.shape(items)[1]) if static_shapes else max_edited_length
            batch |= _corruption(
                items,
                trim=not static_shapes,
                n_items=n_items,
                max_length=width,
                max_insertions=max_insertions,
                p_keep=p_keep,
                p_delete=p_delete,
                popularity=popularity,
                seed=corruption_seed,
            )
        return batch

    batches = (
        _passes(seed, position, endless=steps is not None)
        .flat_map(epoch_of)
        .map(add_views, num_parallel_calls=PARALLEL_CALLS)
    )
    if position is None and n_batches != tf.data.UNKNOWN_CARDINALITY:
        batches = batches.apply(tf.data.experimental.assert_cardinality(n_batches))
    return _without_autotuning(batches.prefetch(PREFETCHED_BATCHES))


def _packed_history(item_ids: tf.Tensor, n_items: int) -> tf.Tensor:
    """Return a history of a dataset without padding; an id out of range is an error of the pass."""
    in_range = tf.reduce_all((item_ids >= PAD_ID) & (item_ids <= n_items))
    message = f"A history must hold item ids from 1 to {n_items}, and 0 for padding. Received:"
    with tf.control_dependencies([tf.debugging.Assert(in_range, [message, item_ids], summarize=10)]):
        return tf.boolean_mask(item_ids, is_item(item_ids))


def _windows_of(item_ids: tf.Tensor, max_length: int, window: Window) -> tf.data.Dataset:
    """Return the `training_windows` of a history of a dataset."""
    length = tf.maximum(tf.size(item_ids, tf.int64), 2)
    first = length if window == "last" else 2 + (length - 2) % max_length
    ends = tf.data.Dataset.range(first, length + 1, max_length)
    return ends.map(lambda end: item_ids[tf.maximum(end - max_length - 1, 0) : end])


def _passes(seed: int, position: tf.Variable | None, endless: bool) -> tf.data.Dataset:
    """Return the epochs of a pass: the `[2]` seed of each, and the number of batches to skip at its start."""
    first = tf.cast(seed, tf.int64)
    if position is None:
        numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(1).take(1)
        return numbers.map(lambda number: (tf.stack([first, number[0]]), tf.constant(0, tf.int64)))
    later = tf.data.Dataset.counter() if endless else tf.data.Dataset.range(1)
    return later.map(
        lambda passed: (
            tf.stack([first, position[0] + passed]),
            tf.where(passed == 0, position[1], tf.zeros_like(passed)),
        )
    )


def evaluation_dataset(
    histories: Sequence[np.ndarray],
    targets: np.ndarray,
    *,
    n_items: int | None = None,
    batch_size: int = 512,
    n_batches: int | None = None,
    corruption: dict[str, Any] | None = None,
    corrupted_length: int | None = None,
    seed: int = 0,
) -> tf.data.Dataset:
    """Make batches for `model.evaluate` and `validation_data`, the same ones on every pass.

    Args:
        histories: per user `[n]` int32 ids, oldest first. Padding (0) may be anywhere and is left out.
        targets: `[U]` int32, the held-out item of each user.
        n_items: catalogue size `N`, to check ids. Default: None, ids have no upper limit.
        batch_size: number of users in a batch. Default: 512.
        n_batches: number of batches, instead of `batch_size`; their sizes differ by at most one user. Default: None.
        corruption: arguments of `corrupt` (`n_items`, `max_length`, ...), to measure how well the augmenter
            repairs these histories. Default: None, no corruption.
        corrupted_length: max length of a history before its corruption; the last items are used. Default: None, all.
        seed: seed of the corruption. Default: 0.

    Returns:
        A dataset of dicts: `history` `[B, L]` and `held_out_item` `[B]` int32, and with `corruption` the keys
        `corrupted`, `operations`, `insertions`. Users are ordered by the length of their history.

    Raises:
        ValueError: `histories` or `targets` are not integer ids of 1 to `n_items`, or they are not equally many.

    Example:
        >>> batch = next(iter(evaluation_dataset([np.array([5, 6])], np.array([7]))))
        >>> batch["history"].numpy().tolist(), batch["held_out_item"].numpy().tolist()
        ([[5, 6]], [7])
    """
    histories = packed_histories(histories, n_items)
    held_out = _held_out_items(targets, len(histories), n_items)
    order = np.argsort([len(history) for history in histories], kind="stable")
    flat = FlatHistories(histories)
    pairs = tf.data.Dataset.from_tensor_slices((flat.bounds[order], held_out[order]))
    if n_batches is None:
        batches = pairs.batch(batch_size)
    else:
        size, n_larger = divmod(len(order), n_batches)
        in_larger = n_larger * (size + 1)
        batches = pairs.take(in_larger).batch(size + 1).concatenate(pairs.skip(in_larger).batch(max(1, size)))
    batches = batches.map(lambda rows, held_out: {"history": flat.gather(rows), "held_out_item": held_out})
    if corruption is not None:

        @tf.autograph.experimental.do_not_convert
        def add_corruption(index: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            seed_of_batch = tf.stack([tf.cast(seed, tf.int64), index])
            item_ids = batch["history"]
            if corrupted_length is not None:
                item_ids = pack_histories(item_ids, corrupted_length)
            return batch | _corruption(item_ids, trim=True, seed=seed_of_batch, **corruption)

        batches = batches.enumerate().map(add_corruption, num_parallel_calls=PARALLEL_CALLS)
    return _without_autotuning(batches.cache().prefetch(PREFETCHED_BATCHES))


def _held_out_items(targets: Any, n_users: int, n_items: int | None) -> np.ndarray:
    """Return the `[U]` int32 held-out items, or refuse what is none."""
    item_ids = np.asarray(targets)
    if item_ids.shape != (n_users,) or (n_users and item_ids.dtype.kind not in "iu"):
        raise ValueError(
            f"Argument `targets` must be an array of {n_users} integer ids, one for each history. Received: shape "
            f"{item_ids.shape} of {item_ids.dtype}."
        )
    wrong = (item_ids <= PAD_ID) | (item_ids > (np.iinfo(np.int32).max if n_items is None else n_items))
    if wrong.any():
        user = int(np.argmax(wrong))
        limit = "the catalogue's size" if n_items is None else f"`n_items`={n_items}"
        raise ValueError(
            f"Argument `targets` must hold item ids from 1 to {limit}. Received: {item_ids[user]} for history {user}."
        )
    return item_ids.astype(np.int32)


def _length_between(bounds: tf.Tensor) -> tf.Tensor:
    return tf.cast(bounds[1] - bounds[0], tf.int32)


def _without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    # At its end, an iterator waits for the autotuner thread, which sleeps twice as long each time: epochs took 10, 20
    # and 41 s (10 ms times a power of two) for 10 s of work. The pipeline needs no tuning.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _corruption(histories: tf.Tensor, *, trim: bool, **arguments: Any) -> dict[str, tf.Tensor]:
    """Return the results of `corrupt` by name, optionally without the columns that are padding in the whole batch."""
    named = dict(zip(("corrupted", "operations", "insertions"), corrupt(histories, **arguments), strict=True))
    if not trim:
        return named
    longest = tf.reduce_max(history_lengths(named["corrupted"]))
    return {name: values[:, :longest] for name, values in named.items()}


def _prefix_lengths(history: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Draw the lengths of prefixes uniformly, `[B, P]` int32."""
    lengths = history_lengths(history)[:, tf.newaxis]
    count = tf.maximum(tf.cast(tf.round(share * tf.cast(tf.shape(history)[1], tf.float32)), tf.int32), 1)
    uniform = tf.random.stateless_uniform([tf.shape(history)[0], count], seed)
    return tf.minimum(1 + tf.cast(uniform * tf.cast(lengths, tf.float32), tf.int32), lengths)


def _bucket_end(bounds: tf.Tensor, boundaries: Sequence[int]) -> tf.Tensor:
    """Return the max length of the bucket that histories with these `[B, 2]` bounds are in, scalar int64."""
    ends = tf.constant(boundaries, tf.int64) - 1
    longest = tf.reduce_max(bounds[:, 1] - bounds[:, 0])
    return ends[tf.searchsorted(ends, longest[tf.newaxis])[0]]


class FlatHistories:
    """All histories in one tensor, with the bounds of each history.

    A dataset shuffles and batches the bounds, sixteen bytes for each history, and gathers a whole batch at once. This
    is faster than a tensor for each history and needs less memory.

    Args:
        histories: per user `[n]` integer ids, oldest first.

    Raises:
        ValueError: an id needs more than 32 bits.

    Attributes:
        bounds: `[U, 2]` int64, the first position of each history, and the position behind its last.

    Example:
        >>> histories = FlatHistories([np.array([5, 6, 7]), np.array([8])])
        >>> histories.gather(histories.bounds[::-1]).numpy().tolist()
        [[8, 0, 0], [5, 6, 7]]
    """

    def __init__(self, histories: Sequence[np.ndarray]) -> None:
        lengths = np.array([len(history) for history in histories], np.int64)
        ends = np.cumsum(lengths)
        self.bounds = np.stack([ends - lengths, ends], axis=1)
        # One item more, so that the position behind the last history exists.
        self.item_ids = tf.constant(as_int32(np.concatenate([*histories, [PAD_ID]], dtype=np.int64, casting="unsafe")))

    def gather(self, bounds: tf.Tensor, width: int | tf.Tensor | None = None) -> tf.Tensor:
        """Return a batch of histories.

        Args:
            bounds: `[B, 2]` int64, rows of `self.bounds`.
            width: number of columns, at least the longest history's length. Default: the longest history's length.

        Returns:
            `[B, width]` int32 ids, PAD behind each history.
        """
        starts, ends = tf.unstack(tf.cast(bounds, tf.int64), num=2, axis=1)
        width = tf.reduce_max(ends - starts) if width is None else tf.cast(width, tf.int64)
        places = starts[:, tf.newaxis] + tf.range(width)  # [B, width]
        item_ids = tf.gather(self.item_ids, tf.minimum(places, tf.size(self.item_ids, tf.int64) - 1))
        return tf.where(places < ends[:, tf.newaxis], item_ids, PAD_ID)

    def __repr__(self) -> str:
        return f"FlatHistories({len(self.bounds):,} histories, {self.item_ids.shape[0] - 1:,} items in all)"
