"""The retriever: which items of a history are read, and which items may be recommended."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import LACLRec
from laclrec_tf.serving import Retriever

NEVER = np.float32(-1e30)


class ScriptedModel:
    """Scores five items a..e by a fixed table: the user vector is 1, the items' vectors are their scores."""

    n_items = 5
    max_length = 3
    #                 PAD    a    b    c    d    e   EOS  MASK
    scores = np.array([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 9.0], np.float32)

    def __init__(self, edits: SimpleNamespace | None = None) -> None:
        self.edits = edits
        self.has_augmenter = edits is not None
        self.exclude_history = True

    def __call__(self, history, training):
        assert training is False
        return tf.ones_like(history[:, :1], tf.float32)

    @property
    def item_vectors(self):
        return tf.constant(self.scores[:, np.newaxis])

    def edit(self, history, decision):
        assert decision == "argmax"
        return self.edits


def scripted(scores: list[float] | None = None, edits: SimpleNamespace | None = None) -> Retriever:
    model = ScriptedModel(edits)
    if scores is not None:
        model.scores = np.array([9.0, *scores, 9.0, 9.0], np.float32)
    return Retriever(model, ItemVocabulary("abcde"), np.array([4, 3, 2, 1, 0]))


def recommend(retriever: Retriever, history: list, k: int = 10, exclude: list | None = None, **inputs):
    inputs |= {"k": tf.constant(k)} | ({} if exclude is None else {"exclude": _strings(exclude)})
    answer = retriever.retrieve(_strings(history), **inputs)
    return _names(answer["item_ids"]), answer["scores"].numpy()


def _strings(rows: list) -> tf.Tensor:
    return tf.reshape(tf.constant(rows, tf.string), [len(rows), len(rows[0]) if rows else 0])


def _names(strings: tf.Tensor) -> list:
    return np.char.decode(strings.numpy().astype("S"), "utf-8").tolist()


def test_the_best_come_first_and_the_history_never():
    items, scores = recommend(scripted(), [["b", "d"]], k=2)
    assert items == [["e", "c"]]
    np.testing.assert_array_equal(scores, [[5.0, 3.0]])


def test_slots_beyond_the_eligible_items_are_empty():
    items, scores = recommend(scripted(), [["b", "d"]], k=5, exclude=[["e"]])
    assert items == [["c", "a", "", "", ""]]
    np.testing.assert_array_equal(scores, [[3.0, 1.0, NEVER, NEVER, NEVER]])


@pytest.mark.parametrize("k", [5, 6, 1000, 2**31 - 1])
def test_more_than_there_is_gives_all_there_is(k):
    items, _ = recommend(scripted(), [["a"]], k=k)
    assert items == [["e", "d", "c", "b", ""]]


@pytest.mark.parametrize("k", [0, -1, -(2**31)])
def test_k_below_one_is_an_error_that_says_so(k):
    with pytest.raises(tf.errors.InvalidArgumentError, match="k must be at least 1"):
        recommend(scripted(), [["a"]], k=k)


def test_exclusions_for_each_row_or_for_all():
    retriever = scripted()
    assert recommend(retriever, [["a"], ["b"]], 1, [["e"], ["d"]])[0] == [["d"], ["e"]]
    assert recommend(retriever, [["a"], ["b"]], 1, [["e", "d"]])[0] == [["c"], ["c"]]
    assert recommend(retriever, [["a"], ["b"]], 1, [["e", ""], ["unknown", ""]])[0] == [["d"], ["e"]]


@pytest.mark.parametrize("rows", [0, 3])
def test_exclusions_for_another_number_of_rows_are_an_error(rows):
    with pytest.raises(tf.errors.InvalidArgumentError, match="exclude must have one row, or as many as history"):
        retriever = scripted()
        retriever.retrieve(_strings([["a"], ["b"]]), tf.constant(1), tf.fill([rows, 1], "c"))


def test_a_history_without_known_items_gets_the_popular_ones():
    items, scores = recommend(scripted(), [["", ""], ["unknown", ""], ["unknown", "c"]], k=3)
    assert items == [["a", "b", "c"], ["a", "b", "c"], ["e", "d", "b"]]
    np.testing.assert_allclose(scores, [[0.4, 0.3, 0.2], [0.4, 0.3, 0.2], [5.0, 4.0, 2.0]], rtol=1e-6)
    assert recommend(scripted(), [[""]], 3, [["b", "a"]])[0] == [["c", "d", "e"]]
    assert recommend(scripted(), [[""]], 3, [list("abcde")])[0] == [["", "", ""]]


def test_without_any_interaction_the_popular_items_are_the_first():
    retriever = Retriever(ScriptedModel(), ItemVocabulary("abcde"), np.zeros(5))
    items, scores = recommend(retriever, [[]], 2)
    assert items == [["a", "b"]]
    np.testing.assert_array_equal(scores, [[0.0, 0.0]])


def test_scores_that_are_not_numbers_recommend_nothing():
    items, scores = recommend(scripted([np.nan, 2.0, np.nan, np.nan, 5.0]), [["e"]], k=5)
    assert set(items[0]) <= {"b", ""}
    assert not np.isnan(scores).any()
    ranked = scripted([np.nan, 2.0, np.nan, np.nan, 5.0]).rank(_strings([["e"]]), _strings([["a", "b"]]))
    np.testing.assert_array_equal(ranked["scores"], [[NEVER, 2.0]])
    np.testing.assert_array_equal(ranked["eligible"], [[False, True]])


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (3, 0)])
def test_no_histories_and_no_width(retriever, shape):
    history = tf.fill(shape, "")
    default = retriever.serving_default(history)
    assert default["item_ids"].shape == default["scores"].shape == (shape[0], 10)
    assert retriever.retrieve(history, tf.constant(3), tf.fill((1, 0), ""))["item_ids"].shape == (shape[0], 3)
    assert retriever.signatures["augment"](history)["operations"].shape == (shape[0], 1)


def test_scores_are_the_models(retriever, model, vocabulary):
    ids = [3, 9, 1, 17]
    vector = model(np.array([ids]), training=False).numpy()[0]
    by_item = dict(zip(vocabulary.items, model.encoder.item_table.numpy()[1:-2] @ vector, strict=True))
    for item in vocabulary.to_items(ids):
        del by_item[item]
    expected = sorted(by_item, key=by_item.__getitem__, reverse=True)

    items, scores = recommend(retriever, [vocabulary.to_items(ids)], k=20)
    assert items == [expected + [""] * 4]
    np.testing.assert_allclose(scores[0, :16], [by_item[item] for item in expected], rtol=1e-5, atol=1e-6)


def test_padding_and_unknown_items_make_no_difference(retriever):
    clean = recommend(retriever, [["007", "a b", "PAD"]])
    dirty = recommend(retriever, [["", b"\xff\xfe", "007", "unknown", "a b", "", "PAD", "", "a b\n"]])
    assert clean[0] == dirty[0]
    np.testing.assert_array_equal(clean[1], dirty[1])


def test_only_the_most_recent_items_are_read_but_all_are_excluded(retriever, vocabulary):
    recent = vocabulary.to_items(range(1, 7))
    older = vocabulary.to_items(range(7, 12))
    long = recommend(retriever, [older + recent], k=20)
    same = recommend(retriever, [recent], k=20, exclude=[older])
    assert long[0] == same[0]
    np.testing.assert_array_equal(long[1], same[1])
    assert not set(long[0][0]) & {*older, *recent}


def test_a_batch_gives_what_its_rows_give_alone(retriever, vocabulary):
    histories = [
        ["007"],
        [],
        ["unknown"],
        vocabulary.to_items([4, 4, 4]),
        vocabulary.to_items(range(20, 0, -1)),
    ]
    padded = [history + [""] * (20 - len(history)) for history in histories]
    items, scores = recommend(retriever, padded, k=20)
    for row, history in enumerate(histories):
        alone = recommend(retriever, [history], k=20)
        assert items[row] == alone[0][0]
        np.testing.assert_allclose(scores[row], alone[1][0], rtol=1e-5, atol=1e-6)


def test_serving_default_is_retrieve_with_ten(retriever):
    history = _strings([["007", "x,y"], ["", ""]])
    default = retriever.serving_default(history)
    items, scores = recommend(retriever, [["007", "x,y"], ["", ""]], k=10)
    assert _names(default["item_ids"]) == items
    np.testing.assert_array_equal(default["scores"], scores)


anything = st.one_of(
    st.sampled_from(["", "unknown", "007", "zelt-groß", "テント", "PAD", *(f"item-{i}" for i in range(9, 21))]),
    st.text(max_size=3).map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(
    histories=st.lists(st.lists(anything, max_size=12), min_size=1, max_size=4),
    exclude=st.lists(anything, max_size=25),
    allow=st.one_of(st.just([]), st.lists(anything, max_size=25)),
    exclude_history=st.booleans(),
    k=st.one_of(st.integers(1, 30), st.just(2**31 - 1)),
)
def test_only_eligible_items_come_out_and_all_that_fit(
    loaded, vocabulary, histories, exclude, allow, exclude_history, k
):
    width = max(map(len, histories))
    batch = _strings([history + [""] * (width - len(history)) for history in histories])
    answer = loaded.signatures["retrieve"](
        history=batch,
        k=tf.constant(k),
        exclude=_strings([exclude]),
        allow=_strings([allow]),
        exclude_history=tf.constant(exclude_history),
    )
    assert answer["item_ids"].shape == (len(histories), min(k, 20))
    catalogue = {item.encode() for item in vocabulary}
    allowed = _bytes(allow) - {b""}
    rows = zip(batch.numpy(), *(answer[name].numpy() for name in ("item_ids", "scores", "filled")), strict=True)
    for row, items, scores, n_filled in rows:
        eligible = catalogue - _bytes(exclude) - (_bytes(row) if exclude_history else set())
        eligible &= allowed or eligible
        filled = [item for item in items if item]
        assert n_filled == len(filled) == min(k, len(eligible)) == len(set(filled))
        assert set(filled) <= eligible
        assert np.isfinite(scores[: len(filled)]).all() and (scores[len(filled) :] == NEVER).all()
        assert (np.diff(scores[: len(filled)]) <= 0).all()


def _bytes(items) -> set[bytes]:
    return {item.encode() if isinstance(item, str) else item for item in items}


def test_an_allow_list_is_ranked_and_nothing_else():
    assert recommend(scripted(), [["a"]], allow=_strings([["c", "unknown", "a", "", "e", "c"]]))[0] == [
        ["e", "c", "", "", ""]
    ]
    items, scores = recommend(scripted(), [["a"]], k=2, allow=_strings([["b", "c", "d"]]), exclude=[["d"]])
    assert items == [["c", "b"]]
    np.testing.assert_array_equal(scores, [[3.0, 2.0]])


def test_an_allow_list_of_unknown_items_allows_none():
    assert recommend(scripted(), [["a"]], k=2, allow=_strings([["unknown", ""]]))[0] == [["", ""]]


def test_allow_lists_for_each_row_and_rows_without_one():
    allow = _strings([["b", "c"], ["", ""], ["d", ""]])
    assert recommend(scripted(), [["a"], ["a"], ["d"]], k=2, allow=allow)[0] == [["c", "b"], ["e", "d"], ["", ""]]


def test_an_allow_list_without_known_history_is_ranked_by_popularity():
    items, scores = recommend(scripted(), [["unknown"]], k=2, allow=_strings([["c", "b"]]))
    assert items == [["b", "c"]]
    np.testing.assert_allclose(scores, [[0.3, 0.2]], rtol=1e-6)


def test_the_history_may_come_when_the_request_says_so():
    no, each = tf.constant(False), tf.constant([True, False])
    assert recommend(scripted(), [["e"]], k=2, exclude_history=no)[0] == [["e", "d"]]
    assert recommend(scripted(), [["e"], ["e"]], k=2, exclude_history=each)[0] == [["d", "c"], ["e", "d"]]


def test_each_row_may_have_its_k():
    answer = scripted().retrieve(_strings([["a"], ["e"]]), k=tf.constant([1, 3]))
    assert _names(answer["item_ids"]) == [["e", "", ""], ["d", "c", "b"]]
    np.testing.assert_array_equal(answer["scores"], [[5.0, NEVER, NEVER], [4.0, 3.0, 2.0]])
    np.testing.assert_array_equal(answer["filled"], [1, 3])


@pytest.mark.parametrize("name", ["k", "exclude_history"])
@pytest.mark.parametrize("shape", [(3,), (0,), (1, 2)])
def test_values_for_another_number_of_rows_are_an_error(name, shape):
    value = tf.ones(shape, tf.int32) if name == "k" else tf.ones(shape, tf.bool)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must be one value, or one for each row"):
        scripted().retrieve(_strings([["a"], ["b"]]), **{name: value})


def test_unknown_items_are_counted(retriever):
    history = _strings([["007", "?", "", b"\xff"], ["", "", "", ""]])
    for name in ("serving_default", "retrieve", "embed_history", "augment"):
        np.testing.assert_array_equal(retriever.signatures[name](history)["unknown"], [2, 0])
    np.testing.assert_array_equal(retriever.rank(history, _strings([["007"]]))["unknown"], [2, 0])


def test_retired_items_are_read_but_never_come_out():
    retriever = Retriever(ScriptedModel(), ItemVocabulary("abcde"), np.array([4, 3, 2, 1, 0]), retired=["e", "a"])
    assert recommend(retriever, [["e", "b"]])[0] == [["d", "c", "", "", ""]]
    assert recommend(retriever, [["e"]], allow=_strings([["e", "b"]]))[0] == [["b", "", "", "", ""]]
    assert recommend(retriever, [[""]], k=2)[0] == [["b", "c"]]  # a is the most popular one
    similar = retriever.similar_items(tf.constant(["e"]), k=tf.constant(5))
    assert set(_names(similar["item_ids"])[0]) == {"b", "c", "d", ""}
    ranked = retriever.rank(_strings([["b"]]), _strings([["a", "c"]]))
    np.testing.assert_array_equal(ranked["scores"], [[NEVER, 3.0]])
    np.testing.assert_array_equal(ranked["eligible"], [[False, True]])


def test_rank_scores_the_candidates_in_their_order():
    retriever = scripted()
    ranked = retriever.rank(_strings([["a"], [""]]), _strings([["d", "unknown", "a", "", "d"]]))
    np.testing.assert_array_equal(ranked["eligible"], [[True, False, True, False, True]] * 2)
    np.testing.assert_allclose(
        ranked["scores"], [[4.0, NEVER, 1.0, NEVER, 4.0], [0.1, NEVER, 0.4, NEVER, 0.1]], rtol=1e-6
    )
    own = retriever.rank(_strings([["a"], ["b"]]), _strings([["d", "a"], ["b", "c"]]))["scores"]
    np.testing.assert_array_equal(own, [[4.0, 1.0], [2.0, 3.0]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="candidates must have one row, or as many as history"):
        retriever.rank(_strings([["a"], ["b"]]), tf.fill([3, 1], "c"))


def test_examples_are_histories(retriever):
    example = tf.train.Example()
    example.features.feature["history"].bytes_list.value.extend([b"007", b"x,y", b"unknown"])
    answer = retriever.predict_examples(tf.constant([example.SerializeToString(), b""]))
    expected = retriever.serving_default(_strings([["007", "x,y", "unknown"], ["", "", ""]]))
    for name, value in expected.items():
        np.testing.assert_array_equal(answer[name], value)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Could not parse example input"):
        retriever.predict_examples(tf.constant([b"no example"]))


def test_one_long_example_does_not_fill_the_memory_for_all(retriever):
    example = tf.train.Example()
    example.features.feature["history"].bytes_list.value.extend([b""] * 2**13)
    with pytest.raises(tf.errors.InvalidArgumentError, match="history may have 4194304 items"):
        retriever.predict_examples(tf.constant([example.SerializeToString(), *[b""] * 2**9]))


def test_the_answer_follows_the_model(vocabulary, popularity):
    model = LACLRec(n_items=20, width=8, max_length=6, max_edited_length=8)
    retriever = Retriever(model, vocabulary, popularity)
    _, before = recommend(retriever, [["007"]])
    model.encoder.item_embedding.embeddings.assign(model.encoder.item_embedding.embeddings * 2.0)
    model.user_encoder.norm.beta.assign(model.user_encoder.norm.beta + 1.0)
    _, after = recommend(retriever, [["007"]])
    assert not np.allclose(before, after)


def test_what_does_not_belong_together_is_refused(model):
    with pytest.raises(InputError, match="must have the same number of items. Received: 20, 2 and 2"):
        Retriever(model, ItemVocabulary("ab"), np.array([1, 1]))
    with pytest.raises(InputError, match="Received: 5, 5 and 4"):
        Retriever(ScriptedModel(), ItemVocabulary("abcde"), np.ones(4))


def test_a_model_without_augmenter_has_no_augment(vocabulary, popularity):
    sasrec = LACLRec(n_items=20, width=8, alpha=0.0, beta=0.0, lambda_aug=0.0, gamma=0.0)
    retriever = Retriever(sasrec, vocabulary, popularity)
    assert "retrieve" in retriever.signatures and "augment" not in retriever.signatures
    assert not any("augmenter" in variable.name for variable in retriever.variables)


def test_histories_are_kept_where_the_model_says_so_unless_the_request_excludes_them():
    model = ScriptedModel()
    model.exclude_history = False
    retriever = Retriever(model, ItemVocabulary("abcde"), np.array([4, 3, 2, 1, 0]))
    history = tf.constant([["e", "a"]])
    for signature in (retriever.serving_default, retriever.retrieve):
        assert signature(history)["item_ids"].numpy()[0, :2].tolist() == [b"e", b"d"]
    excluded = retriever.retrieve(history, exclude_history=tf.constant(True))
    assert excluded["item_ids"].numpy()[0].tolist() == [b"d", b"c", b"b", b"", b""]
    told = Retriever(model, ItemVocabulary("abcde"), np.array([4, 3, 2, 1, 0]), exclude_history=True)
    assert told.serving_default(history)["item_ids"].numpy()[0, 0] == b"d"
