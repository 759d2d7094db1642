"""The warm-up requests of a version, in the file that TensorFlow Serving reads when it loads the version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.history_batch import padded_batch

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
BATCH_SIZES = (1, 8, 32)
INPUTS = {
    "serving_default": ["history"],
    "retrieve": ["history", "k", "exclude", "allow", "exclude_history"],
    "similar_items": ["items", "k"],
    "embed_history": ["history"],
    "embed_items": ["items"],
    "rank": ["history", "candidates"],
    "augment": ["history"],
    "predict_examples": ["examples"],
}


def warmup_requests(
    signatures: Iterable[str], vocabulary: ItemVocabulary, max_length: int, model_name: str
) -> Iterator[predict_pb2.PredictRequest]:
    """Make one request for each signature and each batch size (1, 8 and 32), the same on every call.

    A server that batches, such as TensorFlow Serving with `--enable_batching`, concatenates requests along the first
    axis, also warm-up requests. So each input has a row for each history, and the same width in all requests.

    Args:
        signatures: names of the retriever's signatures.
        vocabulary: items of the histories.
        max_length: length of the longest history that the model reads; one history is longer.
        model_name: the model's name on a server.

    Yields:
        The requests.
    """
    histories = example_histories(vocabulary, max_length)
    for batch_size in BATCH_SIZES:
        inputs = _inputs(histories, batch_size, vocabulary)
        for signature in signatures:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name in INPUTS[signature]:
                array = inputs[name]
                dtype = tf.string if array.dtype == object else None
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array, dtype))
            yield request


def _inputs(histories: list[list[str]], rows: int, vocabulary: ItemVocabulary) -> dict[str, np.ndarray]:
    """Make a value for each input of any signature."""
    numbers = np.arange(rows)
    column = padded_batch([[vocabulary.items[number % vocabulary.n_items]] for number in numbers])
    examples = np.array([_example(history) for history in histories], object)
    return {
        "history": padded_batch(histories)[numbers % len(histories)],
        "k": np.full(rows, 20, np.int32),
        "exclude": column,
        "allow": np.full((rows, 0), b"", object),
        "exclude_history": np.full(rows, True),
        "items": column[:, 0],
        "candidates": np.repeat(column, 2, axis=1),
        "examples": examples[numbers % len(histories)],
    }


def _example(history: list[str]) -> bytes:
    example = tf.train.Example()
    example.features.feature["history"].bytes_list.value.extend(item.encode() for item in history)
    return example.SerializeToString()


def example_histories(vocabulary: ItemVocabulary, max_length: int) -> list[list[str]]:
    """Sample eight histories of different lengths: one longer than the model reads, one empty, one of an unknown item.

    Args:
        vocabulary: the items; the first ones, which are the most popular, are sampled more often.
        max_length: length of the longest history that the model reads.

    Returns:
        The histories, the same on every call.
    """
    generator = np.random.default_rng(0)
    histories = []
    for length in (max_length // 2, 1, 2, 5, max_length, max_length + 3):
        drawn = np.minimum(generator.geometric(min(0.5, 10 / vocabulary.n_items), length), vocabulary.n_items)
        histories.append(vocabulary.to_items(drawn.tolist()))
    unknown = max(vocabulary.items, key=len) + "?"  # longer than any item
    return [*histories, [], [unknown]]


def write_warmup_requests(folder: Path, requests: Iterable[predict_pb2.PredictRequest]) -> None:
    """Write requests to `assets.extra/tf_serving_warmup_requests` in a version's folder.

    Args:
        folder: the version's folder.
        requests: at most 1000 requests, which TensorFlow Serving runs before it announces the version.
    """
    file = folder / WARMUP_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_requests(file, requests)


def write_requests(file: Path, requests: Iterable[predict_pb2.PredictRequest]) -> None:
    """Write requests in the format of warm-up requests.

    Args:
        file: the TFRecord file to write, of serialised `PredictionLog`s.
        requests: the requests.
    """
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def read_warmup_requests(folder: Path) -> list[predict_pb2.PredictRequest]:
    """Read the requests in a version's folder.

    Args:
        folder: the version's folder.

    Returns:
        The requests; none if there is no file.
    """
    file = folder / WARMUP_FILE
    if not file.is_file():
        return []
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
