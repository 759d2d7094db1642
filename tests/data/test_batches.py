"""The input pipeline: what a batch holds, and that a seed fixes all of it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import laclrec_tf.data.batches
from laclrec_tf.data.batches import FlatHistories, evaluation_dataset, training_dataset
from laclrec_tf.data.buckets import BUCKETS, count_batches
from laclrec_tf.ops.edits import DELETE, INSERT, apply_edits
from laclrec_tf.ops.masking import take_prefixes

HISTORIES = [np.array(row, np.int32) for row in ([5, 6, 7], [], [8], [9, 3])]
N_ITEMS = 60
EOS, MASK = N_ITEMS + 1, N_ITEMS + 2
N_HISTORIES = 90


def test_bounds_are_where_histories_begin_and_end():
    assert FlatHistories(HISTORIES).bounds.tolist() == [[0, 3], [3, 3], [3, 4], [4, 6]]


def test_a_batch_is_as_wide_as_its_longest_history_or_as_asked():
    flat = FlatHistories(HISTORIES)
    batch = flat.gather(flat.bounds[1:])
    assert batch.dtype == tf.int32
    assert batch.numpy().tolist() == [[0, 0], [8, 0], [9, 3]]
    assert flat.gather(flat.bounds[2:], width=3).numpy().tolist() == [[8, 0, 0], [9, 3, 0]]


def test_there_may_be_no_histories():
    assert FlatHistories([]).bounds.shape == (0, 2)


@given(rows=st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_every_history_is_found_in_any_order(rows, seed):
    flat = FlatHistories([np.array(row, np.int64) for row in rows])
    order = np.random.default_rng(seed).permutation(len(rows))
    batch = flat.gather(flat.bounds[order]).numpy().tolist()
    assert [[item for item in row if item] for row in batch] == [rows[i] for i in order]


def test_batches_of_long_histories_hold_the_targets_asked_for():
    rows = [np.ones(length + 1, np.int32) for length in range(33, 230)]
    for max_length, dataset_too in ((None, True), (200, False)):
        batches = epoch(made_of(rows, targets_per_batch=512, max_length=max_length))
        lengths = [np.count_nonzero(batch["target"], axis=1) for batch in batches]
        assert all(each.sum() < 512 + each.max() for each in lengths)
        assert sum(each.sum() for each in lengths) == sum(min(length, max_length or 230) for length in range(33, 230))
        assert count_batches(rows, 512, max_length) == len(batches)
        padding = 1 - sum(each.sum() for each in lengths) / sum(batch["target"].size for batch in batches)
        assert padding < 0.1
        if dataset_too:
            assert equal(batches, epoch(made_of(as_dataset(lambda: iter(rows)))), "target")


def test_batches_are_counted_before_they_are_made():
    histories = [np.arange(1, length + 1, dtype=np.int32) for length in (1, 2, 3, 5, 6, 7, 12, 30, 45, 45)]
    for targets in (1, 20, 512):
        made = training_dataset(histories, n_items=60, targets_per_batch=targets)
        assert count_batches(histories, targets) == sum(1 for _ in made)
    assert count_batches([], 512) == 0


def histories() -> list[np.ndarray]:
    """90 histories of 2 to 45 items, all different; the lengths fill several buckets."""
    generator = np.random.default_rng(0)
    lengths = generator.permutation([2 + i % 12 if i < 70 else 14 + i % 32 for i in range(N_HISTORIES)])
    return [generator.integers(1, N_ITEMS + 1, length).astype(np.int32) for length in lengths]


def made(**arguments) -> tf.data.Dataset:
    return training_dataset(histories(), n_items=N_ITEMS, targets_per_batch=60, **arguments)


def made_of(rows, **arguments) -> tf.data.Dataset:
    return training_dataset(rows, n_items=N_ITEMS, **arguments)


def as_dataset(rows) -> tf.data.Dataset:
    return tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec([None], tf.int32))


def epoch(dataset: tf.data.Dataset) -> list[dict[str, np.ndarray]]:
    return [{name: tensor.numpy() for name, tensor in batch.items()} for batch in dataset]


def raw_rows(batch: dict[str, np.ndarray]) -> list[tuple[int, ...]]:
    """The histories a batch was cut from: each history's first item, then its targets."""
    rows = np.concatenate([batch["history"][:, :1], batch["target"]], axis=1).tolist()
    return [tuple(i for i in row if i) for row in rows]


def equal(first: list[dict[str, np.ndarray]], second: list[dict[str, np.ndarray]], name: str) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a[name], b[name]) for a, b in zip(first, second, strict=True)
    )


EVERYTHING = {"n_random_views": 2, "corruption": True, "prefix_share": 0.3, "max_edited_length": 50}


@pytest.fixture(scope="module")
def two_epochs() -> list[list[dict[str, np.ndarray]]]:
    dataset = made(**EVERYTHING, seed=5)
    return [epoch(dataset), epoch(dataset)]


def test_a_batch_holds_what_was_asked_for(two_epochs):
    assert set(two_epochs[0][0]) == {
        "history",
        "target",
        "prefix_lengths",
        "random_view",
        "random_view_2",
        "corrupted",
        "operations",
        "insertions",
    }
    assert set(epoch(made())[0]) == {"history", "target"}
    assert set(epoch(made(n_random_views=1))[0]) == {"history", "target", "prefix_lengths", "random_view"}


def test_shapes_and_dtypes_fit_together(two_epochs):
    for batch in two_epochs[0]:
        rows, length = batch["history"].shape
        assert 1 <= rows <= 24
        assert batch["target"].shape == (rows, length)
        n_prefixes = batch["prefix_lengths"].shape[1]
        assert batch["prefix_lengths"].shape == (rows, n_prefixes)
        assert batch["random_view"].shape == batch["random_view_2"].shape == (rows * n_prefixes, length)
        assert batch["corrupted"].shape == batch["operations"].shape
        assert batch["insertions"].shape == (*batch["corrupted"].shape, 5)
        assert batch["corrupted"].shape[1] == np.count_nonzero(batch["corrupted"], axis=1).max()
        assert all(values.dtype == np.int32 for values in batch.values())


def test_the_target_is_the_history_shifted(two_epochs):
    for batch in two_epochs[0]:
        for history, target in zip(batch["history"], batch["target"], strict=True):
            n = np.count_nonzero(history)
            assert n == np.count_nonzero(target) >= 1
            assert history[1:n].tolist() == target[: n - 1].tolist()
            assert not history[n:].any() and not target[n:].any()


def test_every_history_comes_exactly_once_an_epoch(two_epochs):
    expected = sorted(tuple(history.tolist()) for history in histories())
    for batches in two_epochs:
        assert sorted(row for batch in batches for row in raw_rows(batch)) == expected


def test_histories_of_fewer_than_two_items_are_skipped():
    rows = [[5], [6, 7], [], [8, 9, 10]]
    for source in ([np.array(row, np.int32) for row in rows], as_dataset(lambda: rows)):
        batches = epoch(training_dataset(source, n_items=N_ITEMS))
        assert sorted(row for batch in batches for row in raw_rows(batch)) == [(6, 7), (8, 9, 10)]


def test_a_list_and_a_dataset_of_histories_give_the_same_batches():
    of_list, of_dataset = (
        epoch(made()),
        epoch(training_dataset(as_dataset(histories), n_items=N_ITEMS, targets_per_batch=60)),
    )
    assert equal(of_list, of_dataset, "history") and equal(of_list, of_dataset, "target")


@pytest.mark.parametrize("targets", [1, 60, 1000])
def test_a_list_of_histories_says_how_many_batches_come(targets: int):
    dataset = training_dataset([np.array([5])] + histories(), n_items=N_ITEMS, targets_per_batch=targets)
    assert int(dataset.cardinality()) == len(epoch(dataset)) > 0
    assert int(training_dataset([np.array([5])], n_items=N_ITEMS).cardinality()) == 0


def test_a_batch_is_as_wide_as_its_longest_history_and_holds_one_bucket(two_epochs):
    for batch in two_epochs[0]:
        lengths = np.count_nonzero(batch["history"], axis=1)
        assert lengths.max() == batch["history"].shape[1]
        assert len({int(np.searchsorted(BUCKETS, length)) for length in lengths}) == 1


def test_batches_of_long_histories_hold_as_many_targets_as_those_of_short_ones():
    rows = [np.arange(1, length + 2, dtype=np.int32) for length in (3, 7, 22, 40) for _ in range(200)]
    sizes = {batch["history"].shape: len(batch["target"]) for batch in epoch(made_of(rows, targets_per_batch=200))}
    full = {width: max(n for (_, w), n in sizes.items() if w == width) for _, width in sizes}
    # 200 targets over the middle of each bucket: 1 to 4, 7 to 8, 17 to 24 and 33 to 40.
    assert full == {3: 80, 7: 27, 22: 10, 40: 5}


@pytest.mark.parametrize("max_length", [3, 10, 50])
def test_sliding_windows_have_each_event_as_a_target_once(max_length):
    # Item 100 * u + i is event i of user u, so a target says where it is from.
    rows = [100 * user + np.arange(1, length, dtype=np.int32) for user, length in enumerate((2, 3, 11, 12, 60, 99))]
    arguments = {"n_items": 600, "max_length": max_length, "window": "sliding", "targets_per_batch": 40}
    sources = rows, as_dataset(lambda: iter(rows))
    batches, of_dataset = (epoch(training_dataset(source, **arguments)) for source in sources)
    assert equal(batches, of_dataset, "history") and equal(batches, of_dataset, "target")
    targets = np.concatenate([batch["target"][batch["target"] > 0] for batch in batches])
    assert sorted(targets) == sorted(item for row in rows for item in row[1:].tolist())
    assert max(batch["history"].shape[1] for batch in batches) <= max_length
    assert count_batches(rows, 40, max_length, "sliding") == len(batches)
    newest = [
        raw for batch in epoch(training_dataset(rows, **(arguments | {"window": "last"}))) for raw in raw_rows(batch)
    ]
    assert set(newest) <= {raw for batch in batches for raw in raw_rows(batch)}


def test_popularity_counts_all_events_once_with_windows():
    # Item 1 is the first and the last item of windows, and in none more often than 2.
    rows = [np.array([1, 2, 1, 2, 1], np.int32), *([np.array([3, 4], np.int32)] * 2)]
    counted = []
    with pytest.MonkeyPatch.context() as patched:
        original = laclrec_tf.data.batches.item_popularity
        patched.setattr(
            laclrec_tf.data.batches,
            "item_popularity",
            lambda *arguments: counted.append(original(*arguments)) or counted[-1],
        )
        for source in (rows, as_dataset(lambda: iter(rows))):
            made_of(source, max_length=2, window="sliding", corruption=True, corruption_noise="popular")
    for popularity in counted:
        assert np.asarray(popularity)[:4].tolist() == [3, 2, 2, 2]
    assert len(counted) == 2


def test_an_unknown_window_is_refused():
    with pytest.raises(ValueError, match="`window` must be 'last' or 'sliding'. Received: 'first'"):
        made(window="first")


def test_a_batch_of_long_histories_holds_more_prefixes_of_each(two_epochs):
    for batch in two_epochs[0]:
        assert batch["prefix_lengths"].shape[1] == max(1, round(0.3 * batch["history"].shape[1]))


def test_batches_do_not_come_in_order_of_length(two_epochs):
    widths = [batch["history"].shape[1] for batch in two_epochs[0]]
    assert widths != sorted(widths) and widths != sorted(widths, reverse=True)


def test_two_datasets_of_one_seed_give_the_same_batches(two_epochs):
    dataset = made(**EVERYTHING, seed=5)
    for batches in two_epochs:  # the second epoch too
        again = epoch(dataset)
        assert all(equal(batches, again, name) for name in batches[0])


def test_another_epoch_and_another_seed_give_another_order_and_other_draws(two_epochs):
    first, second = two_epochs
    other_seed = epoch(made(**EVERYTHING, seed=6))
    for name in ("history", "prefix_lengths", "random_view", "corrupted"):
        assert not equal(first, second, name)
        assert not equal(first, other_seed, name)


def test_a_history_is_broken_anew_each_epoch(two_epochs):
    broken = []
    for batches in two_epochs:
        rows = {}
        for batch in batches:
            rows |= dict(zip(raw_rows(batch), batch["corrupted"].tolist(), strict=True))
        broken.append({raw: [i for i in row if i] for raw, row in rows.items()})
    assert sum(broken[0][raw] != broken[1][raw] for raw in broken[0]) > N_HISTORIES / 2


def test_every_prefix_of_a_history_is_as_likely():
    rows = [np.arange(1, 6, dtype=np.int32)] * 500  # four items before the last target
    cuts = np.concatenate([b["prefix_lengths"] for b in epoch(made_of(rows, n_random_views=1, prefix_share=0.5))])
    assert cuts.shape == (500, 2)
    np.testing.assert_allclose(
        np.bincount(cuts.ravel(), minlength=6) / cuts.size, [0, 0.25, 0.25, 0.25, 0.25, 0], atol=0.05
    )


def test_prefixes_are_spread_over_long_histories(two_epochs):
    cuts = []
    for batch in two_epochs[0]:
        lengths = np.count_nonzero(batch["history"], axis=1)[:, np.newaxis]
        assert (batch["prefix_lengths"] >= 1).all() and (batch["prefix_lengths"] <= lengths).all()
        cuts += [*(batch["prefix_lengths"] / lengths)[lengths[:, 0] >= 10].ravel()]
    assert len(cuts) > 20
    assert min(cuts) < 0.25 and max(cuts) > 0.75


def test_random_views_are_views_of_their_prefixes(two_epochs):
    different = 0
    for batch in two_epochs[0]:
        row = 0
        for history, lengths in zip(batch["history"].tolist(), batch["prefix_lengths"].tolist(), strict=True):
            for length in lengths:
                prefix = history[:length]
                for name in ("random_view", "random_view_2"):
                    view = [i for i in batch[name][row].tolist() if i]
                    assert set(view) <= {*prefix, MASK}
                    assert len(view) in (length, max(1, length * 6 // 10))
                    assert length > 1 or view == prefix
                different += batch["random_view"][row].tolist() != batch["random_view_2"][row].tolist()
                row += 1
    assert different > N_HISTORIES, "the two views are drawn apart"


def test_corruptions_are_of_the_whole_history_and_can_be_undone(two_epochs):
    operations = []
    for batch in two_epochs[0]:
        repaired = apply_edits(batch["corrupted"], batch["operations"], batch["insertions"], eos_id=EOS, max_length=50)
        assert [tuple(i for i in row if i) for row in repaired.numpy().tolist()] == raw_rows(batch)
        operations += batch["operations"][batch["corrupted"] > 0].tolist()
    assert {DELETE, INSERT} < set(operations)


def test_the_kinds_of_random_views_and_the_corruption_can_be_chosen():
    similar = np.arange(N_ITEMS + 3, dtype=np.int32)
    similar[1 : N_ITEMS + 1] = N_ITEMS + 1 - similar[1 : N_ITEMS + 1]
    batches = epoch(
        made(
            n_random_views=1,
            random_kinds=["substitute"],
            similar_items=similar,
            corruption=True,
            p_keep=1.0,
            p_delete=0.0,
            max_insertions=2,
        )
    )
    n_changed = 0
    for batch in batches:
        prefixes = take_prefixes(batch["history"], batch["prefix_lengths"]).numpy()
        changed = batch["random_view"] != prefixes
        assert (batch["random_view"][changed] == similar[prefixes[changed]]).all()
        n_changed += np.count_nonzero(changed)
        assert not batch["operations"].any()
        assert batch["insertions"].shape[2] == 2
    assert n_changed > 50


def test_only_what_is_not_in_memory_already_is_cached():
    def caches(source) -> bool:
        dataset = training_dataset(source, n_items=N_ITEMS)
        return b"CacheDataset" in dataset._as_serialized_graph().numpy()

    assert not caches(histories())
    assert caches(as_dataset(histories))


def test_histories_are_read_once_when_they_are_cached():
    reads = []

    def read():
        reads.append(1)
        yield from histories()[:5]

    dataset = as_dataset(read)
    cached = training_dataset(dataset, n_items=N_ITEMS)
    assert len(epoch(cached)) == len(epoch(cached)) > 0
    assert len(reads) == 1
    not_cached = training_dataset(dataset, n_items=N_ITEMS, cache=False)
    assert len(epoch(not_cached)) == len(epoch(not_cached)) > 0
    assert len(reads) == 3


@pytest.mark.parametrize("arguments", [{"prefix_share": 1.1}, {"n_random_views": 3}, {"targets_per_batch": 0}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, int]):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        training_dataset(histories(), n_items=N_ITEMS, **arguments)


def values(dataset) -> list[dict[str, list]]:
    return [{name: each.tolist() for name, each in batch.items()} for batch in epoch(dataset)]


PADDED = [
    np.array([[0, 0, 5, 6, 7]]),
    np.array([[5, 0, 6, 7, 0]]),
    [np.array([0, 5, 0, 0, 6, 7], np.uint64)],
    [[0, 5, 6, 7]],
]


@pytest.mark.parametrize("rows", PADDED)
@pytest.mark.parametrize("max_length", [None, 2])
def test_padding_anywhere_is_left_out_of_histories(rows, max_length):
    packed = [{"history": [[5, 6]], "target": [[6, 7]]}]
    assert values(made_of(rows, max_length=max_length)) == packed
    source = as_dataset(lambda: iter(np.asarray(rows, np.int32)))
    assert values(made_of(source, max_length=max_length)) == packed
    assert values(evaluation_dataset(rows, np.array([9]))) == [{"history": [[5, 6, 7]], "held_out_item": [9]}]


def test_a_history_of_padding_has_no_target():
    assert values(made_of(np.array([[0, 0, 0], [0, 0, 5]]))) == []


@pytest.mark.parametrize(
    ("history", "received"),
    [
        (np.array([5, 61, 7]), "61 in history 1"),
        (np.array([5, 6, -7]), "-7 in history 1"),
        (np.array([2**32 + 5, 6, 7]), "4294967301 in history 1"),
        (np.array([5, 2**64 - 1], np.uint64), "18446744073709551615 in history 1"),
        ([5, 61], "61 in history 1"),
    ],
)
def test_ids_out_of_range_are_refused(history, received):
    message = f"`histories` must hold item ids from 1 to `n_items`=60, and 0 for padding. Received: {received}"
    for make in (made_of, lambda rows: evaluation_dataset(rows, np.array([8, 9, 9]), n_items=N_ITEMS)):
        with pytest.raises(ValueError, match=message) as raised:
            make([np.array([60]), history, np.array([], np.int32)])
        assert "\n" not in str(raised.value)


def test_an_id_out_of_range_in_a_dataset_stops_the_pass():
    for wrong in (61, -7):
        rows = [np.array([5, 6, 7], np.int32), np.array([5, wrong], np.int32)]
        with pytest.raises(tf.errors.InvalidArgumentError, match="item ids from 1 to 60, and 0 for padding"):
            epoch(made_of(as_dataset(lambda rows=rows: iter(rows))))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0], "item ids from 1 to `n_items`=60. Received: 0 for history 0"),
        ([61], "Received: 61 for history 0"),
        ([2**32 + 5], "Received: 4294967301 for history 0"),
        ([5, 6], r"1 integer ids, one for each history. Received: shape \(2,\) of int64"),
        ([5.0], r"Received: shape \(1,\) of float64"),
    ],
)
def test_held_out_items_out_of_range_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        evaluation_dataset([np.array([5])], np.array(targets), n_items=N_ITEMS)


def test_flat_histories_refuse_ids_beyond_32_bits():
    with pytest.raises(ValueError, match="must fit in int32. Received: 4294967301"):
        FlatHistories([np.array([2**32 + 5])])


# ---- static shapes ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def static_epoch() -> list[dict[str, np.ndarray]]:
    return epoch(made(**EVERYTHING, seed=5, static_shapes=True))


def test_static_batches_are_as_wide_as_their_bucket(static_epoch):
    longest = max(len(history) for history in histories()) - 1  # the last item is a target only
    lengths = {len(history) - 1 for history in histories()}
    ends = {min(end for end in (*BUCKETS, longest) if end >= length) for length in lengths}
    widths = {batch["history"].shape[1] for batch in static_epoch}
    assert widths == ends


def test_a_bucket_has_one_shape_but_for_its_last_batch(static_epoch):
    shapes: dict[int, set] = {}
    for batch in static_epoch:
        shapes.setdefault(batch["history"].shape[1], set()).add(
            tuple((name, values.shape) for name, values in sorted(batch.items()) if len(batch["history"]) == 8)
        )
    assert all(len(found - {()}) <= 1 for found in shapes.values())


def test_static_batches_hold_the_same_histories(static_epoch, two_epochs):
    rows = [sorted(row for batch in each for row in raw_rows(batch)) for each in (static_epoch, two_epochs[0])]
    assert rows[0] == rows[1]


def test_static_corruptions_can_be_undone(static_epoch):
    for batch in static_epoch:
        width = batch["history"].shape[1] + 1
        assert batch["corrupted"].shape[1] == min(50, 2 * width)
        raw = apply_edits(
            tf.constant(batch["corrupted"]), batch["operations"], batch["insertions"], eos_id=EOS, max_length=50
        )
        assert [tuple(i for i in row if i) for row in raw.numpy().tolist()] == raw_rows(batch)


def test_static_shapes_need_a_list():
    with pytest.raises(ValueError, match="`static_shapes` requires `histories` as a list"):
        training_dataset(as_dataset(lambda: iter(histories())), n_items=N_ITEMS, static_shapes=True)


# ---- the items that corruptions insert -------------------------------------------------------------------
def skewed_histories() -> list[np.ndarray]:
    """1 in most events; 2 in some; each other item up to 30 once, in a history of its own; no other item."""
    return [np.array([1, 1, 2], np.int32)] * 60 + [np.array([item, item + 1], np.int32) for item in range(3, 30, 2)]


def inserted_items(dataset: tf.data.Dataset) -> np.ndarray:
    """The inserted items in ten epochs, in the histories without 1 and 2."""
    found = []
    for _ in range(10):
        for batch in epoch(dataset):
            other = batch["history"][:, 0] > 2
            found.append(batch["corrupted"][other][batch["operations"][other] == DELETE])
    return np.concatenate(found)


@pytest.mark.parametrize("kind", ["list", "static shapes", "dataset"])
def test_inserted_items_have_the_popularity_of_the_histories(kind):
    rows = skewed_histories()
    arguments = {
        "corruption": True,
        "p_keep": 0.3,
        "p_delete": 0.1,
        "static_shapes": kind == "static shapes",
        "seed": 3,
    }
    given = as_dataset(lambda: iter(rows)) if kind == "dataset" else rows
    popular = inserted_items(made_of(given, corruption_noise="popular", **arguments))
    assert popular.size > 150
    assert np.mean(popular == 1) == pytest.approx(120 / 208, abs=0.1)
    assert np.mean(popular == 2) == pytest.approx(60 / 208, abs=0.1)
    assert popular.max() <= 30
    if kind == "list":
        uniform = inserted_items(made_of(given, **arguments))
        assert np.mean(uniform <= 2) < 0.1 and uniform.max() > 30


def test_popular_corruptions_differ_in_the_inserted_items_alone(two_epochs):
    popular_epoch = epoch(made(**EVERYTHING, seed=5, corruption_noise="popular"))
    n_different = 0
    for uniform, popular in zip(two_epochs[0], popular_epoch, strict=True):
        assert {name: values.shape for name, values in uniform.items()} == {
            name: values.shape for name, values in popular.items()
        }
        assert all(np.array_equal(values, popular[name]) for name, values in uniform.items() if name != "corrupted")
        different = uniform["corrupted"] != popular["corrupted"]
        assert np.all(uniform["operations"][different] == DELETE)
        n_different += different.sum()
    assert n_different > 20


def test_an_unknown_kind_of_noise_is_refused():
    with pytest.raises(ValueError, match="`corruption_noise` must be 'uniform' or 'popular'. Received: 'rare'"):
        made(corruption=True, corruption_noise="rare")


def test_histories_without_events_have_no_popularity():
    assert epoch(made_of([np.array([], np.int32)], corruption=True, corruption_noise="popular")) == []


# ---- evaluation ------------------------------------------------------------------------------------------
CORRUPTION = {"n_items": N_ITEMS, "max_length": 50, "max_insertions": 3}


def held_out() -> tuple[list[np.ndarray], np.ndarray]:
    rows = histories()
    return [row[:-1] for row in rows], np.array([row[-1] for row in rows], np.int32)


def test_every_user_is_evaluated_once_in_order_of_length():
    batches = epoch(evaluation_dataset(*held_out(), batch_size=16))
    assert [len(batch["history"]) for batch in batches] == [16, 16, 16, 16, 16, 10]
    assert set(batches[0]) == {"history", "held_out_item"}
    pairs = [
        (*(i for i in row if i), target)
        for batch in batches
        for row, target in zip(batch["history"].tolist(), batch["held_out_item"].tolist(), strict=True)
    ]
    assert sorted(pairs) == sorted(tuple(row.tolist()) for row in histories())
    assert [len(pair) for pair in pairs] == sorted(len(pair) for pair in pairs)
    assert all(batch["history"].shape[1] == np.count_nonzero(batch["history"], axis=1).max() for batch in batches)


def test_evaluation_corrupts_the_same_way_on_every_pass():
    dataset = evaluation_dataset(*held_out(), batch_size=16, corruption=CORRUPTION, seed=1)
    first, second = epoch(dataset), epoch(dataset)
    other_seed = epoch(evaluation_dataset(*held_out(), batch_size=16, corruption=CORRUPTION, seed=2))
    for name in ("history", "corrupted", "operations", "insertions"):
        assert equal(first, second, name)
        assert equal(first, other_seed, name) == (name == "history")
    for batch in first:
        repaired = apply_edits(batch["corrupted"], batch["operations"], batch["insertions"], eos_id=EOS, max_length=50)
        width = batch["history"].shape[1]
        assert repaired.numpy()[:, :width].tolist() == batch["history"].tolist()


def test_only_the_last_items_of_a_history_are_corrupted():
    whole, corruption = (
        [np.arange(1, 41, dtype=np.int32)],
        CORRUPTION | {"max_length": 12, "p_keep": 1.0, "p_delete": 0.0},
    )
    (batch,) = epoch(evaluation_dataset(whole, np.array([50]), corruption=corruption, corrupted_length=10))
    assert batch["history"].tolist() == [whole[0].tolist()], "all of it is excluded from the ranking"
    assert batch["corrupted"].tolist() == [list(range(31, 41))]


@pytest.fixture(scope="module")
def numbered() -> tuple[tf.Variable, tf.data.Dataset]:
    position = tf.Variable([0, 0], dtype=tf.int64)
    return position, made(**EVERYTHING, seed=5, position=position)


def from_position(numbered, number: int, left_out: int = 0) -> list[dict[str, np.ndarray]]:
    position, dataset = numbered
    position.assign([number, left_out])
    return epoch(dataset)


def test_an_epoch_depends_on_its_number_alone(numbered):
    first, second = from_position(numbered, 0), from_position(numbered, 1)
    again = from_position(numbered, 0)
    for name in first[0]:
        assert equal(first, again, name)
        assert not equal(first, second, name)


def test_an_epoch_goes_on_in_its_middle(numbered):
    whole, rest = from_position(numbered, 2), from_position(numbered, 2, left_out=3)
    assert all(equal(whole[3:], rest, name) for name in whole[0])


def test_the_process_wide_seed_has_no_say(numbered):
    whole = from_position(numbered, 1)
    tf.random.set_seed(0)
    position = tf.Variable([1, 0], dtype=tf.int64)
    assert equal(whole, epoch(made(**EVERYTHING, seed=5, position=position)), "random_view")


def test_with_steps_the_epochs_follow_each_other(numbered):
    position = tf.Variable([1, 0], dtype=tf.int64)
    passing = epoch(made(**EVERYTHING, seed=5, position=position, steps=2).take(5))
    expected = [batch for number in (1, 2, 3) for batch in from_position(numbered, number)[:2]]
    assert all(equal(expected[:5], passing, name) for name in passing[0])


def test_evaluation_in_a_given_number_of_batches_has_every_user_once():
    whole, targets = histories(), np.arange(1, N_HISTORIES + 1, dtype=np.int32)
    for n_batches in (1, 4, 7, N_HISTORIES):
        batches = epoch(evaluation_dataset(whole, targets, n_batches=n_batches))
        sizes = [len(batch["held_out_item"]) for batch in batches]
        assert len(sizes) == n_batches and max(sizes) - min(sizes) <= 1
        assert sorted(item for batch in batches for item in batch["held_out_item"]) == sorted(targets)
