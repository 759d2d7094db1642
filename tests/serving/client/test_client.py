"""The clients: answers of the live model, errors in one line, retries and deadlines; asyncio the same."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from laclrec_tf.errors import InputError
from laclrec_tf.serving import AsyncRetrievalClient, AugmentedHistory, LocalModel, RetrievalClient
from laclrec_tf.serving.client import connection as connection_module
from laclrec_tf.serving.client import queries as queries_module
from laclrec_tf.serving.errors import RequestRefused

SLOTS = {
    "item_ids": [["tent", "mug"]],
    "scores": np.array([[2.0, 1.0]], np.float32),
    "filled": np.array([2], np.int32),
}
UNKNOWN = {"unknown": np.array([1], np.int32)}
ANSWERS = {
    "retrieve": SLOTS | UNKNOWN,
    "similar_items": SLOTS | {"known": np.array([True])},
    "embed_history": UNKNOWN | {"user_vectors": np.ones([1, 2], np.float32)},
    "embed_items": {"item_vectors": np.ones([1, 2], np.float32), "known": np.array([True])},
    "rank": UNKNOWN | {"scores": np.array([[1.0, 3.0]], np.float32), "eligible": np.array([[True, True]])},
    "augment": UNKNOWN
    | {
        "history": [["tent"]],
        "operations": [["keep"]],
        "probabilities": np.array([[[0.5, 0.25, 0.25]]], np.float32),
        "inserted": [[[""]]],
        "edited_history": [["tent"]],
    },
}
QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "retrieve": lambda client: client.recommend(
        ["a"], k=2, exclude=["b"], allow=["tent", "mug"], exclude_history=False
    ),
    "similar_items": lambda client: client.similar_items(["a"], k=2),
    "embed_history": lambda client: client.embed_history(["a"]),
    "embed_items": lambda client: client.embed_items(["a"]),
    "rank": lambda client: client.rank(["a"], ["tent", "mug"]),
    "augment": lambda client: client.augment(["a", "tent"]),
}


@pytest.fixture(scope="session")
def local(exported) -> LocalModel:
    return LocalModel(exported.parent)


@pytest.fixture(scope="session")
def client_of_equal_rows(target) -> Iterator[RetrievalClient]:
    with RetrievalClient(target, "shop", timeout=30, row_width=32) as client:
        yield client


@pytest.fixture(params=["client", "client_of_equal_rows", "local"])
def queries(request) -> Any:
    """Return the client, one whose requests can be concatenated, then the local model."""
    return request.getfixturevalue(request.param)


def test_one_history_gives_a_list_of_one(queries, retriever):
    (answer,) = queries.recommend(["007", "テント"], k=3)
    expected = retriever.retrieve(tf.constant([["007", "テント"]]), tf.constant(3), tf.constant([[""]]))
    assert list(answer.item_ids) == [item.decode() for item in expected["item_ids"].numpy()[0]]
    np.testing.assert_allclose(answer.scores, expected["scores"].numpy()[0], rtol=1e-5, atol=1e-6)
    assert all(type(score) is float for score in answer.scores)


def test_ten_by_default_and_never_the_history(queries):
    (answer,) = queries.recommend(("007", "PAD", "unknown"))
    assert len(answer.item_ids) == len(answer.scores) == 10
    assert not {"007", "PAD"} & set(answer.item_ids)


def test_several_histories_keep_their_order(queries, vocabulary):
    histories = [[item] for item in vocabulary][:5] + [[], ["x,y", "007", "None"]]
    together = queries.recommend(histories, k=4)
    for history, answer in zip(histories, together, strict=True):
        (alone,) = queries.recommend(history, k=4)
        assert answer.item_ids == alone.item_ids
        np.testing.assert_allclose(answer.scores, alone.scores, rtol=1e-5, atol=1e-6)


def test_many_histories_make_several_requests(queries, vocabulary, monkeypatch):
    histories = [[item] for item in vocabulary][:7]
    exclusions = [[item] for item in reversed(vocabulary.items)][:7]
    whole, edited = queries.recommend(histories, exclude=exclusions), queries.augment(histories)
    monkeypatch.setattr(queries_module, "BATCH_SIZE", 3)
    parts = queries.recommend(histories, exclude=exclusions)
    assert [answer.item_ids for answer in parts] == [answer.item_ids for answer in whole]
    assert [answer.operations for answer in queries.augment(histories)] == [row.operations for row in edited]


def test_exclusions(queries):
    first = queries.recommend(["007"], k=2)[0].item_ids
    assert first[0] not in queries.recommend(["007"], k=19, exclude=[first[0]])[0].item_ids
    answers = queries.recommend([["007"], ["007"]], k=19, exclude=[[first[0]], [first[1], "unknown"]])
    assert [set(first) - set(answer.item_ids) for answer in answers] == [{first[0]}, {first[1]}]


def test_fewer_items_than_k(queries, vocabulary):
    (answer,) = queries.recommend(["007"], k=10**12, exclude=vocabulary.items[2:])
    assert answer.item_ids == ("zelt-groß",) and len(answer.scores) == 1
    assert queries.recommend(["007"], exclude=list(vocabulary))[0].item_ids == ()


def test_no_history_gives_the_popular_items(queries, vocabulary):
    for history in ([], [""], ["unknown"], ["\udcff"]):
        (answer,) = queries.recommend(history, k=3)
        assert answer.item_ids == vocabulary.items[:3]
        np.testing.assert_allclose(answer.scores, np.array([40, 38, 36]) / 420, rtol=1e-6)


def test_augment_gives_one_entry_for_each_known_item(queries, retriever):
    history = ["", "item-9", "unknown", "item-10", "item-11"]
    answer, nothing = queries.augment([history, ["unknown"]])
    expected = retriever.signatures["augment"](tf.constant([history]))
    assert answer.history == ("item-9", "item-10", "item-11")
    assert answer.operations == tuple(name.decode() for name in expected["operations"].numpy()[0])
    np.testing.assert_allclose(answer.probabilities, expected["probabilities"].numpy()[0], rtol=1e-5, atol=1e-6)
    assert len(answer.inserted) == 3 and all(isinstance(run, tuple) for run in answer.inserted)
    assert answer.edited_history == tuple(i.decode() for i in expected["edited_history"].numpy()[0])
    assert nothing == AugmentedHistory((), (), (), (), (), unknown=1)


def test_allowed_items_and_those_of_the_history(queries):
    asked = {"k": 5, "allow": ["007", "PAD", "unknown"]}
    assert queries.recommend(["007"], **asked)[0].item_ids == ("PAD",)
    assert set(queries.recommend(["007"], exclude_history=False, **asked)[0].item_ids) == {"007", "PAD"}
    first, second = queries.recommend([["007"], ["007"]], k=19, allow=[["PAD"], []])
    assert (first.item_ids, len(second.item_ids)) == (("PAD",), 19)


def test_unknown_items_are_counted(queries):
    assert [answer.unknown for answer in queries.recommend([["007", "?", "", "??"], ["007"]])] == [2, 0]


def test_similar_items(queries, retriever):
    known, unknown = queries.similar_items(["007", "unknown"], k=3)
    expected = retriever.signatures["similar_items"](tf.constant(["007", "unknown"]), tf.constant(3))
    assert (known.item, known.known) == ("007", True)
    assert known.item_ids == tuple(item.decode() for item in expected["item_ids"].numpy()[0])
    np.testing.assert_allclose(known.scores, expected["scores"].numpy()[0], rtol=1e-5, atol=1e-6)
    assert "007" not in known.item_ids
    assert (unknown.item, unknown.item_ids, unknown.known) == ("unknown", (), False)


def test_a_ranking_follows_the_vectors(queries):
    history, candidates = ["007", "unknown", "PAD"], ["item-9", "?", "テント", "007"]
    (ranking,) = queries.rank(history, candidates)
    user, items = queries.embed_history(history), queries.embed_items(candidates)
    assert (ranking.unknown, user.unknown, items.known) == (1, (1,), (True, False, True, True))
    scores = dict(zip(candidates, (items.vectors @ user.vectors[0]).tolist(), strict=True)) | {"?": -1e30}
    assert list(ranking.item_ids) == sorted(candidates, key=scores.get, reverse=True)
    assert ranking.eligible == (True, True, True, False)
    np.testing.assert_allclose(ranking.scores, [scores[item] for item in ranking.item_ids], rtol=1e-4, atol=1e-5)


def test_status(client):
    assert client.status() == {1: "AVAILABLE"}


def test_a_version_folder_is_a_local_model_too(exported, local):
    assert LocalModel(exported).folder == local.folder == exported


def test_no_local_model(tmp_path):
    for path, text in ((tmp_path, "holds no version of a model"), (tmp_path / "no", "is no folder")):
        with pytest.raises(InputError, match=text):
            LocalModel(path)


# ---- errors of the server ----------------------------------------------------------------------------------
def error_of(client: RetrievalClient) -> str:
    with client, pytest.raises(InputError) as caught:
        client.recommend(["007"])
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_server():
    text = error_of(RetrievalClient("127.0.0.1:1", "shop"))
    assert text.startswith("127.0.0.1:1, model shop: ") and "(UNAVAILABLE)" in text
    assert text.endswith("Start a server with `laclrec-tf serve MODEL`, or give its HOST:PORT.")


def test_an_error_has_its_status():
    with RetrievalClient("127.0.0.1:1", "shop") as client, pytest.raises(RequestRefused) as caught:
        client.recommend(["007"])
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_another_model(target):
    text = error_of(RetrievalClient(target, "house"))
    assert "Served here: shop, version 1 (NOT_FOUND)." in text
    with RetrievalClient(target, "house") as client, pytest.raises(InputError, match="NOT_FOUND"):
        client.status()


def test_no_such_signature(queries):
    with pytest.raises(InputError, match="no signature 'recommend'. It has: augment, "):
        queries._predict("recommend", {})


@contextmanager
def scripted_server(answer: Callable[[grpc.ServicerContext], None]) -> Iterator[str]:
    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            answer(context)

    with served(Service()) as target:
        yield target


@contextmanager
def served(service: Any, address: str = "127.0.0.1:0") -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_tensorflow_servings_status_of_an_unknown_signature():
    with scripted_server(lambda context: context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not\nfound.")) as target:
        assert "not found (FAILED_PRECONDITION)." in error_of(RetrievalClient(target, "shop"))


@pytest.mark.parametrize("code", list(grpc.StatusCode)[1:], ids=lambda code: code.name)
def test_whatever_the_server_answers_is_one_line(code):
    with scripted_server(lambda context: context.abort(code, "a bug")) as target:
        assert f"a bug ({code.name})." in error_of(RetrievalClient(target, "shop"))


def test_an_error_of_the_server_is_named_as_one():
    with scripted_server(lambda context: context.abort(grpc.StatusCode.INTERNAL, "a bug")) as target:
        assert error_of(RetrievalClient(target, "shop")).endswith("This is an error of the server: see its log.")


def test_a_server_that_does_not_answer_in_time():
    done = threading.Event()
    with scripted_server(lambda context: bool(done.wait(30))) as target:
        text = error_of(RetrievalClient(target, "shop", timeout=0.1))
        done.set()
    assert "(DEADLINE_EXCEEDED). Give a larger timeout, and " in text


# ---- versions, deadlines, retries --------------------------------------------------------------------------
VECTORS = {"user_vectors": np.ones([1, 2], np.float32), "unknown": np.array([0], np.int32)}


def test_the_selected_version(hand_written):
    hand_written.answers["embed_history"] = VECTORS
    for pin in ({}, {"version": 0}, {"version": 7}, {"version_label": "stable"}):
        with RetrievalClient(hand_written.target, "shop", **pin) as client:
            client.embed_history(["007"])
        spec = hand_written.requests[-1].model_spec
        assert (spec.name, spec.signature_name) == ("shop", "embed_history")
        choice = spec.WhichOneof("version_choice")
        assert choice == next(iter(pin), None)
        if choice:
            value = getattr(spec, choice)
            assert pin[choice] == (value if choice == "version_label" else value.value)


def test_all_inputs_of_retrieve_reach_the_server(hand_written):
    hand_written.answers["retrieve"] = {
        "item_ids": [["tent"]],
        "scores": np.array([[1.5]], np.float32),
        "filled": np.array([1], np.int32),
        "unknown": np.array([2], np.int32),
    }
    with RetrievalClient(hand_written.target, "shop") as client:
        (answer,) = client.recommend(["a"], k=1, exclude=["b"], allow=["tent", "c"], exclude_history=False)
    assert (answer.item_ids, answer.scores, answer.unknown) == (("tent",), (1.5,), 2)
    assert hand_written.inputs == [
        {
            "history": ("string", [[b"a"]]),
            "k": ("int32", 1),
            "exclude": ("string", [[b"b"]]),
            "allow": ("string", [[b"tent", b"c"]]),
            "exclude_history": ("bool", False),
        }
    ]


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
@pytest.mark.parametrize("n_items", [1, 100_000])
def test_an_interrupted_request_is_sent_again(hand_written, code, n_items):
    """CANCELLED comes from a server that stops. gRPC's own retries leave out requests of more than 256 KB."""
    hand_written.answers["embed_history"] = VECTORS
    hand_written.refusals = [code] * 2
    with RetrievalClient(hand_written.target, "shop", timeout=30) as client:
        assert client.embed_history(["007"] * n_items).vectors.tolist() == [[1.0, 1.0]]
    assert len(hand_written.requests) == 3


def test_pauses_grow(hand_written, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    hand_written.refusals = [grpc.StatusCode.UNAVAILABLE] * 9
    error_of(RetrievalClient(hand_written.target, "shop"))
    assert pauses == [pytest.approx(pause, rel=0.21) for pause in (0.1, 0.2, 0.4, 0.8)]


def test_a_closed_client_does_not_retry():
    """Closing ends the calls in progress as CANCELLED, and this is not the server's doing."""
    arrived, done = threading.Event(), threading.Event()

    def answer(context: grpc.ServicerContext) -> None:
        arrived.set()
        done.wait(30)

    with scripted_server(answer) as target, ThreadPoolExecutor(1) as pool:
        client = RetrievalClient(target, "shop", timeout=30, wait_for_ready=True)
        running = pool.submit(client.recommend, ["007"])
        assert arrived.wait(30)
        client.close()
        with pytest.raises(RequestRefused, match="CANCELLED"):
            running.result(timeout=30)
        done.set()


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (2, 3)])
def test_retries_come_to_an_end(hand_written, retries, requests):
    hand_written.refusals = [grpc.StatusCode.UNAVAILABLE] * 9
    assert "not now (UNAVAILABLE)" in error_of(RetrievalClient(hand_written.target, "shop", retries=retries))
    assert len(hand_written.requests) == requests


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE", "CANCELLED")]
)
def test_no_other_error_is_retried(hand_written, code):
    hand_written.refusals = [code] * 2
    assert f"not now ({code.name})" in error_of(RetrievalClient(hand_written.target, "shop"))
    assert len(hand_written.requests) == 1


def test_the_deadline_ends_the_retries(hand_written):
    hand_written.refusals = [grpc.StatusCode.UNAVAILABLE] * 9
    text = error_of(RetrievalClient(hand_written.target, "shop", timeout=0.15))
    assert "(DEADLINE_EXCEEDED)" in text or "(UNAVAILABLE)" in text
    assert len(hand_written.requests) < 5


def test_the_deadline_is_of_the_whole_call(monkeypatch):
    """Each of many requests would be in time; all together are not."""
    monkeypatch.setattr(queries_module, "BATCH_SIZE", 1)
    done, asked = threading.Event(), []

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            asked.append(request)
            done.wait(0.2)
            response = predict_pb2.PredictResponse()
            for name, array in VECTORS.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            return response

    with served(Service()) as target, RetrievalClient(target, "shop", timeout=0.5) as client:
        with pytest.raises(InputError, match="DEADLINE_EXCEEDED"):
            client.embed_history([["007"]] * 60)
        done.set()
    assert 1 <= len(asked) <= 4


def test_wait_for_ready(hand_written):
    """`wait_for_ready` waits until a server runs; without it, a missing server is an error at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{probe.getsockname()[1]}"
    hand_written.answers["embed_history"] = VECTORS
    error_of(RetrievalClient(target, "shop", retries=0))
    with RetrievalClient(target, "shop", timeout=30, wait_for_ready=True) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.embed_history, ["007"])
        with pytest.raises(TimeoutError):
            answer.result(timeout=0.3)
        with served(hand_written, target):
            assert answer.result(timeout=30).unknown == (0,)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_wait_for_ready_waits_until_the_timeout(hand_written, monkeypatch, code, asynchronous):
    """A server that listens and still loads its models is UNAVAILABLE more often than `retries`."""
    monkeypatch.setattr(connection_module, "LONGEST_PAUSE", 0.01)
    hand_written.answers["embed_history"] = VECTORS
    hand_written.refusals = [code] * 12
    settings = {"timeout": 30, "wait_for_ready": True}
    if asynchronous:
        answer = run(hand_written.target, lambda client: client.embed_history(["007"]), **settings)
    else:
        with RetrievalClient(hand_written.target, "shop", **settings) as client:
            answer = client.embed_history(["007"])
    assert answer.unknown == (0,)
    assert len(hand_written.requests) == 13


def test_waiting_for_a_server_that_never_becomes_ready(hand_written, monkeypatch):
    monkeypatch.setattr(connection_module, "LONGEST_PAUSE", 0.01)
    hand_written.refusals = [grpc.StatusCode.UNAVAILABLE] * 10_000
    text = error_of(RetrievalClient(hand_written.target, "shop", timeout=0.5, wait_for_ready=True))
    assert "not now (UNAVAILABLE)" in text or "DEADLINE_EXCEEDED" in text
    assert len(hand_written.requests) > 5


def test_waiting_where_there_is_no_server():
    text = error_of(RetrievalClient("127.0.0.1:1", "shop", timeout=0.2, wait_for_ready=True))
    assert (
        "(DEADLINE_EXCEEDED). No server answered there in time. Start a server with `laclrec-tf serve MODEL`, or "
        in text
    )


def test_several_threads_share_a_client(client, vocabulary):
    items = list(vocabulary) * 3
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda item: client.recommend([item], k=2)[0], items))
    together = client.recommend([[item] for item in items], k=2)
    assert [answer.item_ids for answer in answers] == [answer.item_ids for answer in together]


def test_no_keras_no_tensorflow_and_no_model_code_is_imported(hand_written):
    hand_written.answers["embed_history"] = VECTORS
    script = (
        "import sys; from laclrec_tf.serving import RetrievalClient, AsyncRetrievalClient\n"
        "print(RetrievalClient(sys.argv[1], 'shop').embed_history(['007']).vectors.tolist())\n"
        "print([name for name in ('keras', 'tensorflow', 'laclrec_tf.models', 'laclrec_tf.layers',"
        " 'laclrec_tf.serving.retriever.retriever') if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, hand_written.target],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == ["[[1.0, 1.0]]", "[]"]


def run(target: str, question: Callable[[AsyncRetrievalClient], Awaitable[Any]], **settings: Any) -> Any:
    async def ask() -> Any:
        async with AsyncRetrievalClient(target, "shop", **settings) as client:
            return await question(client)

    return asyncio.run(ask())


@pytest.mark.parametrize("signature", QUESTIONS)
def test_requests_and_answers_are_the_same_as_the_clients(hand_written, signature):
    hand_written.answers = ANSWERS
    with RetrievalClient(hand_written.target, "shop", version=3) as client:
        expected = QUESTIONS[signature](client)
    answer = run(hand_written.target, QUESTIONS[signature], version=3)
    theirs, ours = hand_written.requests
    assert ours == theirs
    assert ours.model_spec.signature_name == signature
    if hasattr(expected, "vectors"):
        np.testing.assert_array_equal(answer.vectors, expected.vectors)
    else:
        assert answer == expected


def test_the_real_server(target, client):
    assert run(target, lambda asynchronous: asynchronous.status(), timeout=30) == client.status()


def test_many_tasks_share_a_client(hand_written):
    hand_written.answers = ANSWERS

    async def all_at_once(client: AsyncRetrievalClient) -> list:
        return await asyncio.gather(*(client.recommend(["a"], k=2) for _ in range(20)))

    answers = run(hand_written.target, all_at_once, timeout=30)
    assert [answer.item_ids for (answer,) in answers] == [("tent", "mug")] * 20


def test_only_unavailable_requests_are_sent_again(hand_written):
    hand_written.answers = ANSWERS
    hand_written.refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL]
    with pytest.raises(InputError, match=r"shop: not now \(INTERNAL\). This is an error of the server") as caught:
        run(hand_written.target, QUESTIONS["rank"])
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert len(hand_written.requests) == 2


def test_no_server_for_the_async_client():
    with pytest.raises(InputError, match=r"127.0.0.1:1, model shop: .*\(UNAVAILABLE\). Start a server"):
        run("127.0.0.1:1", QUESTIONS["retrieve"], retries=1)


def test_wrong_arguments_of_the_async_client_are_refused():
    with pytest.raises(InputError, match="`k` must be at least 1"):
        run("127.0.0.1:1", lambda client: client.recommend(["a"], k=0))
    with pytest.raises(InputError, match="HOST:PORT"):
        run("nowhere", QUESTIONS["retrieve"])
