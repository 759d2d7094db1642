"""The sequence augmenter: what it decides, what it decodes, and what comes of both."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from laclrec_tf.layers import SequenceAugmenter, SequenceEncoder
from laclrec_tf.layers.sequence_augmenter import DECISIONS, NEVER, choose_operations
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, apply_edits

N_ITEMS, WIDTH, K = 20, 8, 3
EOS, MASK = N_ITEMS + 1, N_ITEMS + 2
HISTORIES = np.random.default_rng(3).integers(1, N_ITEMS + 1, [12, 9]).astype(np.int32)
HISTORIES[1, 4:] = 0
HISTORIES[2, 1:] = 0
REAL = HISTORIES > 0


def chosen(logits: list[float], decision: str, temperature: float = 1.0) -> np.ndarray:
    """Choose 6,000 times."""
    many = np.broadcast_to(np.array(logits, np.float32), [600, 10, 3])
    return np.asarray(choose_operations(many, decision, temperature, keras.random.SeedGenerator(2)))


def shares(operations: np.ndarray) -> np.ndarray:
    return np.bincount(operations.ravel(), minlength=3) / operations.size


def test_argmax_takes_the_largest():
    assert shares(chosen([0.1, 0.3, 0.2], "argmax")).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gumbel_samples_from_the_softmax_at_its_temperature(temperature: float):
    weights = np.array([0.64, 0.32, 0.04]) ** (1 / temperature)
    operations = chosen(np.log([0.64, 0.32, 0.04]).tolist(), "gumbel", temperature)
    assert shares(operations) == pytest.approx(weights / weights.sum(), abs=0.02)


def test_noise_takes_the_argmax_of_logits_times_uniform_noise():
    # 2 u < v for one pair in four; a negative logit stays below both.
    assert shares(chosen([2.0, 1.0, -1.0], "noise")) == pytest.approx([0.75, 0.25, 0.0], abs=0.02)


@pytest.mark.parametrize("decision", DECISIONS)
def test_what_is_forbidden_is_never_chosen(decision: str):
    # Times noise, NEVER may come near 0, and all allowed logits are below it.
    assert shares(chosen([-50.0, NEVER, -40.0], decision))[1] == 0.0


def built(seed: int = 1, **arguments) -> tuple[SequenceEncoder, SequenceAugmenter]:
    """An encoder and an augmenter whose decisions differ from item to item."""
    keras.utils.set_random_seed(seed)
    encoder = SequenceEncoder(N_ITEMS, max_length=16, width=WIDTH, n_blocks=1)
    encoder.build((None, None))
    for embedding in (encoder.item_embedding, encoder.position_embedding):
        embedding.set_weights([50 * w for w in embedding.get_weights()])
    settings = {"max_edited_length": 16, "max_insertions": K, "width": WIDTH, "seed": 2} | arguments
    augmenter = SequenceAugmenter(N_ITEMS, **settings)
    augmenter.build()
    return encoder, augmenter


def always(augmenter: SequenceAugmenter, logits: list[float]) -> None:
    """Give every item the same operation logits."""
    augmenter.operation_head.set_weights([np.zeros([WIDTH, 3]), np.array(logits)])


def numbers(tensor) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


# ---- decisions -------------------------------------------------------------------------------------------
def test_the_untrained_augmenter_of_these_tests_takes_every_operation():
    encoder, augmenter = built()
    operations = numbers(augmenter.edit(encoder, HISTORIES).operations)
    assert set(operations[REAL].tolist()) == {KEEP, DELETE, INSERT}


def test_argmax_takes_the_likeliest_operation_and_padding_is_kept():
    encoder, augmenter = built()
    edits = augmenter.edit(encoder, HISTORIES)
    probabilities = numbers(edits.probabilities)
    assert probabilities.shape == (*HISTORIES.shape, 3)
    assert probabilities.sum(axis=-1) == pytest.approx(np.ones(HISTORIES.shape), abs=1e-5)
    assert numbers(edits.operations).tolist() == np.where(REAL, probabilities.argmax(axis=-1), KEEP).tolist()


def test_a_decision_can_be_overridden_for_one_call():
    encoder, augmenter = built(decision="gumbel")
    _, other = built(decision="argmax")
    first, second = (numbers(augmenter.edit(encoder, HISTORIES).operations) for _ in range(2))
    assert first.tolist() != second.tolist(), "each call samples anew"
    overridden = augmenter.edit(encoder, HISTORIES, decision="argmax").operations
    assert numbers(overridden).tolist() == numbers(other.edit(encoder, HISTORIES).operations).tolist()


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("wish", [50.0, -50.0])
def test_without_deletion_nothing_is_deleted_and_without_insertion_nothing_inserted(decision: str, wish: float):
    for forbidden, arguments in ((DELETE, {"can_delete": False}), (INSERT, {"can_insert": False})):
        encoder, augmenter = built(decision=decision, **arguments)
        logits = [-wish] * 3
        logits[forbidden] = wish
        always(augmenter, logits)
        edits = augmenter.edit(encoder, HISTORIES)
        assert forbidden not in numbers(edits.operations)
        assert numbers(edits.probabilities)[..., forbidden].max() == 0.0
        # What is not forbidden still happens: here the two others are equally likely or KEEP is first.
        assert KEEP in numbers(edits.operations)[REAL]
        if forbidden == INSERT:
            assert not numbers(edits.insertions).any()


# ---- edits -----------------------------------------------------------------------------------------------
def test_runs_stand_at_inserts_only_and_hold_items_and_eos_only():
    encoder, augmenter = built()
    edits = augmenter.edit(encoder, HISTORIES)
    insertions, inserting = numbers(edits.insertions), numbers(edits.operations) == INSERT
    assert insertions.shape == (*HISTORIES.shape, K)
    assert not insertions[~inserting].any()
    assert inserting.sum() > 5
    assert insertions[inserting].min() >= 1 and insertions[inserting].max() <= EOS


def test_the_edited_history_is_what_the_edits_make_of_it():
    encoder, augmenter = built()
    edits = augmenter.edit(encoder, HISTORIES)
    expected = apply_edits(HISTORIES, edits.operations, edits.insertions, eos_id=EOS, max_length=16)
    assert numbers(edits.edited).tolist() == expected.numpy().tolist()
    assert numbers(edits.edited)[:, :9].tolist() != HISTORIES.tolist()
    assert set(numbers(edits.edited).ravel()) <= set(range(N_ITEMS + 1)), "neither EOS nor MASK"


def test_when_everything_would_be_deleted_the_last_item_stays():
    encoder, augmenter = built()
    always(augmenter, [0.0, 50.0, 0.0])
    edits = augmenter.edit(encoder, HISTORIES)
    lengths = REAL.sum(axis=1)
    last = HISTORIES[np.arange(12), lengths - 1]
    assert numbers(edits.edited).tolist() == [[item] + [0] * 15 for item in last]


def test_a_long_edited_history_keeps_its_most_recent_items():
    encoder, augmenter = built(max_edited_length=10)
    always(augmenter, [0.0, 0.0, 50.0])
    encoder.item_embedding.set_weights([never_eos(encoder)])
    edits = augmenter.edit(encoder, HISTORIES[:1])
    runs = numbers(edits.insertions)[0]
    whole = [i for item, run in zip(HISTORIES[0], runs, strict=True) for i in [*run[::-1], item]]
    assert EOS not in whole and len(whole) == 9 * (K + 1)
    assert numbers(edits.edited)[0].tolist() == whole[-10:]


def never_eos(encoder: SequenceEncoder) -> np.ndarray:
    """The table with item 7 ahead of EOS whatever the state: EOS is the mean of 7 and -7."""
    table = encoder.item_embedding.get_weights()[0]
    table[EOS] = 0.0
    table[8] = -table[7]
    return table


def test_inserting_nothing_into_an_empty_batch_of_runs_is_fine():
    encoder, augmenter = built()
    always(augmenter, [50.0, 0.0, 0.0])
    edits = augmenter.edit(encoder, HISTORIES)
    assert numbers(edits.edited)[:, :9].tolist() == HISTORIES.tolist()
    assert numbers(edits.insertions).shape == (12, 9, K)


def test_an_empty_history_stays_empty():
    encoder, augmenter = built()
    always(augmenter, [0.0, 0.0, 50.0])
    edits = augmenter.edit(encoder, np.zeros([1, 4], np.int32))
    assert not numbers(edits.edited).any() and not numbers(edits.insertions).any()


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_more_padding_and_other_batch_mates_change_no_edit(attention: str):
    encoder, augmenter = built(attention=attention)
    edits = augmenter.edit(encoder, HISTORIES)
    padded = augmenter.edit(encoder, np.pad(HISTORIES, [(0, 0), (0, 4)]))
    for name in ("operations", "insertions"):
        assert numbers(getattr(padded, name))[:, :9].tolist() == numbers(getattr(edits, name)).tolist()
    assert numbers(padded.edited).tolist() == numbers(edits.edited).tolist()
    alone = augmenter.edit(encoder, HISTORIES[1:2, :4])
    assert numbers(alone.edited)[0].tolist() == numbers(edits.edited)[1].tolist()
    assert numbers(alone.probabilities)[0] == pytest.approx(numbers(edits.probabilities)[1, :4], abs=1e-5)


def test_a_causal_augmenter_looks_back_only_a_bidirectional_one_both_ways():
    changed = HISTORIES.copy()
    changed[0, 5] = changed[0, 5] % N_ITEMS + 1
    differences = {}
    for attention in ("causal", "bidirectional"):
        encoder, augmenter = built(attention=attention)
        before, after = (numbers(augmenter(augmenter.encode(encoder, ids))) for ids in (HISTORIES, changed))
        differences[attention] = np.abs(after - before)[0].max(axis=-1)
    assert differences["causal"][:5] == pytest.approx(np.zeros(5), abs=1e-5)
    assert differences["bidirectional"][:5].min() > 1e-4
    assert min(differences["causal"][5:].min(), differences["bidirectional"][5:].min()) > 1e-4


def test_edits_are_the_same_in_a_graph_of_open_shapes():
    encoder, augmenter = built()

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def in_graph(history):
        return tuple(augmenter.edit(encoder, history))

    for histories in (HISTORIES, HISTORIES[:3, :5]):
        for graph, eager in zip(in_graph(histories), augmenter.edit(encoder, histories), strict=True):
            assert numbers(graph) == pytest.approx(numbers(eager), abs=1e-5)


# ---- the generator ---------------------------------------------------------------------------------------
def test_generate_agrees_with_the_states_that_repair_trains():
    # Its own runs as labels: at each target the trained state puts that very target first.
    encoder, augmenter = built()
    always(augmenter, [0.0, 0.0, 50.0])
    edits = augmenter.edit(encoder, HISTORIES)
    repair = augmenter.repair(encoder, HISTORIES, edits.operations * (HISTORIES > 0), edits.insertions)
    scores = numbers(repair.run_states) @ numbers(encoder.item_table)[1 : EOS + 1].T
    # What the history holds and what the run held before is no candidate.
    for row, (of_history, place, step) in enumerate(np.argwhere(numbers(edits.insertions) > 0)):
        run = numbers(edits.insertions)[of_history, place]
        scores[row, [item - 1 for item in (*HISTORIES[of_history], *run[:step]) if item]] = -np.inf
    assert (1 + scores.argmax(axis=1)).tolist() == numbers(repair.run_targets).tolist()
    assert REAL.sum() < len(scores) <= REAL.sum() * K


@pytest.mark.parametrize("static_shapes", [False, True])
@pytest.mark.parametrize("with_candidates", [False, True])
def test_what_the_history_holds_is_not_inserted_and_nothing_twice(static_shapes: bool, with_candidates: bool):
    encoder, augmenter = built()
    always(augmenter, [0.0, 0.0, 50.0])
    candidates = None
    if with_candidates:  # each given twice, in no order, and one of another history
        candidates = tf.constant([*HISTORIES.ravel()[::-1], *HISTORIES.ravel()])
        candidates = tf.where(candidates > 0, candidates, 7)
    edits = augmenter.edit(encoder, HISTORIES, None, candidates, static_shapes)
    inserted = 0
    for history, runs in zip(HISTORIES, numbers(edits.insertions), strict=True):
        for run in runs[history > 0]:
            items = [item for item in run if 0 < item <= N_ITEMS]
            assert not set(items) & set(history.tolist())
            assert len(set(items)) == len(items)
            inserted += len(items)
    assert inserted > REAL.sum()


# ---- training --------------------------------------------------------------------------------------------
def test_repair_gives_one_row_for_each_insertion_target():
    encoder, augmenter = built()
    corrupted = np.array([[5, 6, 7, 0], [8, 0, 0, 0]], np.int32)
    operations = np.array([[INSERT, KEEP, INSERT, INSERT], [INSERT, 0, 0, 0]], np.int32)
    runs = {(0, 0): [3, EOS, 0], (0, 2): [4, 2, 1], (0, 3): [9, EOS, 0], (1, 0): [6, 5, EOS]}
    insertions = np.zeros([2, 4, K], np.int32)
    for where, run in runs.items():
        insertions[where] = run
    repair = augmenter.repair(encoder, corrupted, operations, insertions)
    # The run at (0, 3) stands on padding and is no target.
    assert numbers(repair.run_targets).tolist() == [3, EOS, 4, 2, 1, 6, 5, EOS]
    assert repair.run_states.shape == (8, WIDTH)
    first, second = [5, 6, 7, 0], [8, 0, 0, 0]  # the histories, then the run so far
    assert numbers(repair.run_present).tolist() == [
        [*first, 0, 0, 0], [*first, 3, 0, 0], [*first, 0, 0, 0], [*first, 4, 0, 0], [*first, 4, 2, 0],
        [*second, 0, 0, 0], [*second, 6, 0, 0], [*second, 6, 5, 0],
    ]  # fmt: skip
    hidden = augmenter.encode(encoder, corrupted)
    assert numbers(repair.operation_logits) == pytest.approx(numbers(augmenter(hidden)), abs=1e-6)
    # Row 4 is the run [4, 2, 1] at (0, 2) after two steps: started by item 7, then fed 4 and 2.
    states = augmenter.generator(augmenter.hidden_norm(hidden)[0:1, 2], encoder.item_embedding(ops.array([[4, 2]])))
    assert numbers(repair.run_states)[4] == pytest.approx(numbers(states)[0, 2], abs=1e-5)


def test_repair_without_a_single_insert_has_no_targets():
    encoder, augmenter = built()
    repair = augmenter.repair(encoder, HISTORIES, np.zeros_like(HISTORIES), np.zeros([12, 9, K], np.int32))
    assert repair.run_states.shape == (0, WIDTH) and repair.run_targets.shape == (0,)
    assert repair.run_present.shape == (0, 9 + K)
    assert repair.operation_logits.shape == (12, 9, 3)


# ---- configuration ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["from_config", "keras"])
def test_a_configuration_makes_the_same_augmenter(how: str):
    encoder, augmenter = built(
        n_heads=4,
        dropout=0.1,
        normalisation="post",
        attention="causal",
        decision="gumbel",
        temperature=0.5,
        can_delete=False,
        seed=9,
    )
    if how == "from_config":
        copy = SequenceAugmenter.from_config(augmenter.get_config())
        copy.build()
    else:
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(augmenter))
        assert copy.built, "Keras builds it as the original was built"
    assert isinstance(copy, SequenceAugmenter)
    assert copy.get_config() == augmenter.get_config()
    copy.set_weights(augmenter.get_weights())
    first, second = augmenter.edit(encoder, HISTORIES), copy.edit(encoder, HISTORIES)
    assert all(numbers(a) == pytest.approx(numbers(b), abs=1e-5) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "arguments", [{"attention": "both"}, {"decision": "coin"}, {"temperature": 0.0}, {"temperature": -1.0}]
)
def test_arguments_out_of_range_are_refused(arguments: dict):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"Argument `{name}` .* Received: {name}={value!r}"):
        SequenceAugmenter(N_ITEMS, **arguments)
