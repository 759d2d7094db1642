"""Corruption: its labels undo it, and its draws follow the walk that the method describes."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.data.corruption import corrupt
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, apply_edits
from laclrec_tf.ops.masking import pad_histories

N_ITEMS = 90
EOS = N_ITEMS + 1
DRAWS = 20_000
# Three standard deviations of a share of 1/2 over 20,000 draws are 0.0106.
TOLERANCE = 0.011


def history_batch(lengths: list[int], seed: int, n_items: int = N_ITEMS) -> np.ndarray:
    """Histories of these lengths, items drawn with repetition, right-padded."""
    generator = np.random.default_rng(seed)
    return pad_histories([generator.integers(1, n_items + 1, length) for length in lengths])


def copies(history: list[int], count: int = DRAWS) -> tf.Tensor:
    return tf.constant(np.tile(np.array(history, np.int32), (count, 1)))


def labels_of(corrupted: tf.Tensor, operations: tf.Tensor) -> list[str]:
    """Each row's labels as a word of K, D and I."""
    lengths = (corrupted.numpy() > 0).sum(axis=1)
    words = np.array(["K", "D", "I"])[operations.numpy()]
    return ["".join(row[:length]) for row, length in zip(words, lengths, strict=True)]


def shares(words: list[str]) -> dict[str, float]:
    return {word: count / len(words) for word, count in Counter(words).items()}


def reference_walk(
    history: list[int],
    *,
    n_items: int,
    max_length: int,
    max_insertions: int,
    p_keep: float,
    p_delete: float,
    draw: random.Random,
) -> tuple[list[int], list[int], list[list[int]]]:
    """The walk of the method's section 2 over one history, one draw at a time.

    Random items stop coming when the rest of the history would no longer fit: had they M items to
    themselves, the last raw items could not be copied and the labels could not give them back.
    """
    corrupted, operations, insertions = [], [], []
    absent = sorted(set(range(1, n_items + 1)) - set(history))

    def put(item: int, operation: int, run: list[int]) -> None:
        closed = run + [n_items + 1] if operation == INSERT and len(run) < max_insertions else run
        corrupted.append(item)
        operations.append(operation)
        insertions.append(closed + [0] * (max_insertions - len(closed)))

    position = 0
    last = len(history) - 1
    while position <= last:
        kind = draw.choices("kdi", [p_keep, p_delete, 1 - p_keep - p_delete])[0]
        fits = len(corrupted) + 1 + len(history) - position <= max_length
        if kind == "i" and not fits:
            continue
        if kind == "d" and position == last:
            continue  # the last item is never dropped: draw again
        if kind == "i":
            put(draw.choice(absent), DELETE, [])
            continue
        run: list[int] = []
        while kind == "d" and position < last and len(run) < max_insertions:
            run.insert(0, history[position])
            position += 1
            kind = draw.choices("kdi", [p_keep, p_delete, 1 - p_keep - p_delete])[0]
        put(history[position], INSERT if run else KEEP, run)
        position += 1
    return corrupted, operations, insertions


# ---- the labels undo the corruption ----------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    p_keep=st.floats(0.05, 1.0),
    delete_share=st.floats(0.0, 1.0),
    max_insertions=st.integers(1, 7),
    room=st.integers(0, 12),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_labels_give_the_history_back(lengths, p_keep, delete_share, max_insertions, room, seed):
    history = history_batch(lengths, seed % 1000)
    max_length = history.shape[1] + room
    corrupted, operations, insertions = corrupt(
        history,
        n_items=N_ITEMS,
        max_length=max_length,
        max_insertions=max_insertions,
        p_keep=p_keep,
        p_delete=delete_share * (1.0 - p_keep),
        seed=seed,
    )
    assert corrupted.shape == operations.shape == (len(lengths), max_length)
    assert insertions.shape == (len(lengths), max_length, max_insertions)
    repaired = apply_edits(corrupted, operations, insertions, eos_id=EOS, max_length=history.shape[1])
    assert repaired.numpy().tolist() == history.tolist()

    for raw, row, labels, runs in zip(
        history.tolist(), corrupted.numpy().tolist(), operations.numpy(), insertions.numpy(), strict=True
    ):
        raw = [item for item in raw if item]
        length = sum(item > 0 for item in row)
        assert length >= 1 and not any(row[length:]), "padding stands behind the items"
        assert row[length - 1] == raw[-1], "the last item is never dropped"
        assert labels[length - 1] != DELETE
        assert not labels[length:].any() and not runs[length:].any(), "padding is KEEP and has no run"
        noise = [item for item, label in zip(row, labels, strict=True) if label == DELETE]
        assert all(1 <= item <= N_ITEMS and item not in raw for item in noise)
        for label, run in zip(labels, runs, strict=True):
            ids = [int(i) for i in run if i]
            assert bool(ids) == (label == INSERT), "runs stand at INSERT only"
            if label == INSERT:
                assert run.tolist() == ids + [0] * (max_insertions - len(ids))
                assert ids[0] != EOS, "a run holds at least one item"
                assert EOS not in ids[:-1], "EOS closes a run"
                assert len(ids) == max_insertions or ids[-1] == EOS, "a run shorter than K is closed"


def test_a_run_is_labelled_nearest_first_and_closed_by_eos():
    # Everything that may be dropped is: of 5 items, runs of at most 3.
    corrupted, operations, insertions = corrupt(
        tf.constant([[11, 12, 13, 14, 15, 0], [21, 22, 23, 0, 0, 0]]),
        n_items=N_ITEMS,
        max_length=6,
        max_insertions=3,
        p_keep=1e-9,
        p_delete=1 - 1e-9,
        seed=0,
    )
    assert corrupted.numpy().tolist() == [[14, 15, 0, 0, 0, 0], [23, 0, 0, 0, 0, 0]]
    assert operations.numpy().tolist() == [[INSERT, KEEP, 0, 0, 0, 0], [INSERT, 0, 0, 0, 0, 0]]
    assert insertions.numpy()[0, 0].tolist() == [13, 12, 11]  # K items: no EOS
    assert insertions.numpy()[1, 0].tolist() == [22, 21, EOS]
    assert np.count_nonzero(insertions) == 6


def test_nothing_changes_when_everything_is_kept():
    history = history_batch([7, 1], seed=1)
    corrupted, operations, insertions = corrupt(
        history, n_items=N_ITEMS, max_length=7, p_keep=1.0, p_delete=0.0, seed=0
    )
    assert corrupted.numpy().tolist() == history.tolist()
    assert not operations.numpy().any() and not insertions.numpy().any()


# ---- the draws -------------------------------------------------------------------------------------------


def test_one_item_is_kept_behind_a_geometric_number_of_random_items():
    # A delete is drawn again, so each draw is an insert with probability .15 / .55 = 3 / 11.
    corrupted, operations, _ = corrupt(copies([5]), n_items=N_ITEMS, seed=1)
    seen = shares(labels_of(corrupted, operations))
    assert seen["K"] == pytest.approx(8 / 11, abs=TOLERANCE)
    assert seen["DK"] == pytest.approx(3 / 11 * 8 / 11, abs=TOLERANCE)
    assert seen["DDK"] == pytest.approx((3 / 11) ** 2 * 8 / 11, abs=TOLERANCE)
    assert set(seen) <= {"D" * n + "K" for n in range(20)}


def test_two_items_are_drawn_as_worked_out_by_hand():
    corrupted, operations, _ = corrupt(copies([5, 6]), n_items=N_ITEMS, seed=2)
    seen = shares(labels_of(corrupted, operations))
    assert seen["I"] == pytest.approx(0.45, abs=TOLERANCE)  # delete; the run ends before the last item
    assert seen["KK"] == pytest.approx(0.40 * 8 / 11, abs=TOLERANCE)
    assert seen["DI"] == pytest.approx(0.15 * 0.45, abs=TOLERANCE)
    assert seen["KDK"] == pytest.approx(0.40 * 3 / 11 * 8 / 11, abs=TOLERANCE)
    assert seen["DKK"] == pytest.approx(0.15 * 0.40 * 8 / 11, abs=TOLERANCE)
    assert not any(word.endswith("DI") and "K" in word for word in seen), "nothing comes between a run and its item"


@pytest.mark.parametrize("max_insertions", [1, 2])
def test_three_items_are_drawn_as_worked_out_by_hand(max_insertions: int):
    corrupted, operations, insertions = corrupt(
        copies([5, 6, 7]), n_items=N_ITEMS, max_insertions=max_insertions, seed=3
    )
    words = labels_of(corrupted, operations)
    seen = shares(words)
    assert seen["KKK"] == pytest.approx(0.40 * 0.40 * 8 / 11, abs=TOLERANCE)
    assert seen["KI"] == pytest.approx(0.40 * 0.45, abs=TOLERANCE)
    runs = Counter(
        (word, tuple(run[0])) for word, run in zip(words, insertions.numpy().tolist(), strict=True) if word[0] == "I"
    )
    if max_insertions == 1:  # a run of one is full, whatever is drawn next
        assert runs["IK", (5,)] / DRAWS == pytest.approx(0.45 * 8 / 11, abs=TOLERANCE)
        assert ("I", (6,)) not in runs
    else:
        assert runs["I", (6, 5)] / DRAWS == pytest.approx(0.45 * 0.45, abs=TOLERANCE)
        # Keep and insert alike end the run: .55.
        assert runs["IK", (5, EOS)] / DRAWS == pytest.approx(0.45 * 0.55 * 8 / 11, abs=TOLERANCE)
        assert runs["IDK", (5, EOS)] / DRAWS == pytest.approx(0.45 * 0.55 * 3 / 11 * 8 / 11, abs=TOLERANCE)


def test_random_items_stop_when_the_rest_would_no_longer_fit():
    # M is the history's own length: only behind a dropped item is there room for one random item.
    corrupted, operations, _ = corrupt(copies([5, 6, 7]), n_items=N_ITEMS, max_length=3, seed=4)
    seen = shares(labels_of(corrupted, operations))
    no_room = 8 / 17  # keep against delete where an insert may not be
    assert seen["KKK"] == pytest.approx(no_room * no_room, abs=TOLERANCE)
    assert seen["IDK"] == pytest.approx(9 / 17 * 0.55 * 3 / 11, abs=TOLERANCE)
    assert set(seen) == {"KKK", "KI", "I", "IK", "IDK"}


@pytest.mark.parametrize(
    ("length", "max_length", "max_insertions", "p_keep", "p_delete"),
    [(12, 60, 5, 0.40, 0.45), (8, 9, 2, 0.30, 0.30), (20, 60, 3, 0.10, 0.70)],
)
def test_labels_agree_with_a_walk_of_one_history(length, max_length, max_insertions, p_keep, p_delete):
    arguments = {
        "n_items": N_ITEMS,
        "max_length": max_length,
        "max_insertions": max_insertions,
        "p_keep": p_keep,
        "p_delete": p_delete,
    }
    history = list(range(1, length + 1))
    draw = random.Random(7)
    count = 4000
    walked = Counter()
    for _ in range(count):
        corrupted, operations, insertions = reference_walk(history, draw=draw, **arguments)
        walked.update(label_counts(corrupted, operations, insertions, length))
    corrupted, operations, insertions = corrupt(copies(history, count), seed=11, **arguments)
    drawn = Counter()
    for row in zip(corrupted.numpy().tolist(), operations.numpy().tolist(), insertions.numpy().tolist(), strict=True):
        drawn.update(label_counts(*row, length))
    for what in sorted(walked | drawn, key=str):
        # Counts a history: at most a few, so 4,000 histories fix each to about 0.03.
        assert drawn[what] / count == pytest.approx(walked[what] / count, abs=0.06), what


def label_counts(corrupted: list[int], operations: list[int], insertions: list[list[int]], length: int) -> Counter:
    """Count labels, run lengths, what becomes of each raw item, and the corrupted length's tenths."""
    counts = Counter()
    for item, operation, run in zip(corrupted, operations, insertions, strict=True):
        if item:
            counts[operation] += 1
            counts["run of", sum(0 < i <= N_ITEMS for i in run)] += 1
            if operation != DELETE:
                counts["copied", item, operation] += 1
    n_corrupted = sum(item > 0 for item in corrupted)
    counts["length", 10 * n_corrupted // length] += 1
    counts["starts with", operations[0]] += 1
    return counts


def test_random_items_are_uniform_over_those_not_in_the_history():
    # Of 8 items the history holds 1, 4, 5 and 8 (4 twice): 2, 3, 6 and 7 may come.
    corrupted, operations, _ = corrupt(copies([4, 1, 8, 4, 5]), n_items=8, p_keep=0.2, p_delete=0.1, seed=5)
    noise = corrupted.numpy()[operations.numpy() == DELETE]
    assert len(noise) > 100_000
    counts = np.bincount(noise, minlength=10) / len(noise)
    assert counts == pytest.approx([0, 0, 0.25, 0.25, 0, 0, 0.25, 0.25, 0, 0], abs=0.005)


def test_a_history_that_holds_the_whole_catalogue_may_meet_any_item():
    corrupted, operations, insertions = corrupt(copies([2, 1, 3], 1000), n_items=3, max_length=9, seed=6)
    noise = corrupted.numpy()[operations.numpy() == DELETE]
    assert set(noise.tolist()) == {1, 2, 3}
    repaired = apply_edits(corrupted, operations, insertions, eos_id=4, max_length=3)
    assert repaired.numpy().tolist() == [[2, 1, 3]] * 1000


def test_a_seed_gives_the_same_draw_and_another_seed_another():
    history = history_batch([20, 30], seed=1)
    first, again, other = (corrupt(history, n_items=N_ITEMS, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_a_seed_may_be_a_pair_of_integers_inside_a_graph():
    history = tf.constant(history_batch([20, 30], seed=1))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([2], tf.int64)])
    def in_graph(item_ids, seed):
        return corrupt(item_ids, n_items=N_ITEMS, seed=seed)

    seed = tf.constant([5, 6], tf.int64)
    eager = corrupt(history, n_items=N_ITEMS, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(in_graph(history, seed), eager, strict=True))
    assert not np.array_equal(eager[0], corrupt(history, n_items=N_ITEMS, seed=tf.constant([5, 7]))[0])


# ---- items drawn by popularity ---------------------------------------------------------------------------


def test_popular_items_are_drawn_by_weight_among_those_not_in_the_history():
    # The history contains 1 and 3, and 5 has no weight: 2 and 4 may come, with weights 1 and 3.
    weights = np.array([100, 1, 50, 3, 0])
    corrupted, operations, _ = corrupt(
        copies([1, 3, 1]), n_items=5, p_keep=0.2, p_delete=0.1, popularity=weights, seed=5
    )
    noise = corrupted.numpy()[operations.numpy() == DELETE]
    # With a probability of (150/154)^4 all drawn items are in the history, and the item is uniform over 2, 4 and 5.
    uniform = (150 / 154) ** 4
    expected = [0, 0, uniform / 3 + (1 - uniform) / 4, 0, uniform / 3 + (1 - uniform) * 3 / 4, uniform / 3]
    assert np.bincount(noise, minlength=6) / len(noise) == pytest.approx(expected, abs=0.01)


def test_popular_items_have_the_shares_of_their_weights():
    weights = np.array([0.0, 4.0, 0.0, 3.0, 1.0, 0.5, 1.5])
    corrupted, operations, _ = corrupt(copies([1]), n_items=7, p_keep=0.2, p_delete=0.1, popularity=weights, seed=6)
    noise = corrupted.numpy()[operations.numpy() == DELETE]
    assert np.bincount(noise - 1, minlength=7) / len(noise) == pytest.approx(weights / 10, abs=0.01)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), weighted=st.integers(1, N_ITEMS))
def test_popularity_changes_nothing_but_the_inserted_items(seed, weighted):
    history = history_batch([20, 1, 30], seed=seed)
    weights = np.where(np.arange(N_ITEMS) < weighted, 1 + np.arange(N_ITEMS), 0)
    uniform = [part.numpy() for part in corrupt(history, n_items=N_ITEMS, seed=seed)]
    popular = [part.numpy() for part in corrupt(history, n_items=N_ITEMS, popularity=weights, seed=seed)]
    is_noise = (uniform[1] == DELETE) & (uniform[0] > 0)
    assert np.array_equal(uniform[0][~is_noise], popular[0][~is_noise])
    assert all(np.array_equal(a, b) for a, b in zip(uniform[1:], popular[1:], strict=True))
    for row, items, noisy in zip(history.tolist(), popular[0], is_noise, strict=True):
        assert not set(items[noisy].tolist()) & {0, *row}
    assert popular[0].max() <= N_ITEMS


def test_without_popularity_the_draws_are_those_of_earlier_versions():
    generator = np.random.default_rng(1)
    history = pad_histories([generator.integers(1, N_ITEMS + 1, length) for length in (20, 30, 1, 7)])
    content = b"".join(part.numpy().tobytes() for part in corrupt(history, n_items=N_ITEMS, seed=3))
    assert hashlib.sha256(content).hexdigest() == "14dcd21e3fc1a4c272e76dc2d4e0cdf2686c20f76bc3fb1802903086dbe0d6fc"


@pytest.mark.parametrize("kind", [np.array, tf.constant])
def test_popular_items_are_the_same_in_a_graph(kind):
    history = history_batch([20, 30], seed=1)
    weights = kind(np.arange(N_ITEMS, dtype=np.float32))
    seed = tf.constant([5, 6], tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def captured(item_ids):
        return corrupt(item_ids, n_items=N_ITEMS, popularity=weights, seed=seed)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.float32)])
    def given_weights(item_ids, popularity):
        return corrupt(item_ids, n_items=N_ITEMS, popularity=popularity, seed=seed)

    assert captured.get_concrete_function().structured_outputs[0].shape.as_list() == [None, 60]
    eager = corrupt(history, n_items=N_ITEMS, popularity=weights, seed=seed)
    for traced in (captured(history), given_weights(history, weights)):
        assert all(np.array_equal(a, b) for a, b in zip(traced, eager, strict=True))


@pytest.mark.parametrize("weights", [np.ones(3), np.zeros(N_ITEMS), -np.ones(N_ITEMS), np.full(N_ITEMS, np.nan)])
def test_popularity_that_is_none_is_refused(weights):
    with pytest.raises(ValueError, match="`popularity` must hold a number of at least 0"):
        corrupt(tf.constant([[5]]), n_items=N_ITEMS, popularity=weights)


# ---- Beauty ----------------------------------------------------------------------------------------------


def test_label_rates_on_beauty_are_the_methods(shared_dir: Path):
    # As the released code samples it: every prefix together with its target of a user's events but two.
    histories: dict[str, list[int]] = {}
    vocabulary: dict[str, int] = {}
    with gzip.open(shared_dir / "data" / "beauty" / "interactions.csv.gz", "rt") as events:
        assert next(events).strip() == "user_id,item_id,timestamp"
        for event in events:
            user, item, _ = event.split(",")  # the file keeps the order
            histories.setdefault(user, []).append(vocabulary.setdefault(item, len(vocabulary) + 1))
    samples = [ids[:n] for ids in histories.values() for n in range(2, len(ids) - 1)]
    assert (len(histories), len(vocabulary), len(samples)) == (22_362, 12_101, 127_596)

    samples.sort(key=len)
    labels = np.zeros(3)
    n_raw = n_corrupted = n_targets = 0
    for start in range(0, len(samples), 32_768):
        batch = pad_histories(samples[start : start + 32_768])
        corrupted, operations, insertions = (t.numpy() for t in corrupt(batch, n_items=len(vocabulary), seed=start))
        labels += np.bincount(operations[corrupted > 0], minlength=3)
        n_raw += np.count_nonzero(batch)
        n_corrupted += np.count_nonzero(corrupted)
        n_targets += np.count_nonzero(insertions)
    assert labels / labels.sum() == pytest.approx([0.43, 0.165, 0.405], abs=0.02)
    assert n_corrupted / n_raw == pytest.approx(0.67, abs=0.02)
    assert n_targets / n_raw == pytest.approx(0.71, abs=0.02)


# ---- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p_keep", "p_delete"), [(0.0, 0.5), (0.5, -0.1), (0.7, 0.4)])
def test_probabilities_that_are_none_are_refused(p_keep: float, p_delete: float):
    with pytest.raises(ValueError, match=f"Received: p_keep={p_keep}, p_delete={p_delete}"):
        corrupt(tf.constant([[5]]), n_items=N_ITEMS, p_keep=p_keep, p_delete=p_delete)


def test_histories_wider_than_the_result_are_refused():
    with pytest.raises(ValueError, match="`max_length` must be at least the width"):
        corrupt(tf.ones([1, 5], tf.int32), n_items=N_ITEMS, max_length=4)
