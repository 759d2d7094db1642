"""`recommend-all` on Apache Beam: the local engine's rows, in no particular order."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.parquetio import WriteToParquet

from laclrec_tf.beam.events import ReadPiece, read_event_files
from laclrec_tf.beam.files import (
    check_result_name,
    existing,
    fetched,
    matched,
    matched_below,
    read_bytes,
    work_folder,
    write_bytes,
)
from laclrec_tf.beam.histories import last_events, without_duplicates
from laclrec_tf.beam.runner import BeamPipelines
from laclrec_tf.data.prepared import DATASET_FILE, VOCABULARY_FILE, read_shard
from laclrec_tf.data.user_histories import COLUMNS
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.local.recommend_all import check_recommend_all, recommended
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE

USERS_PER_BATCH = 1024
_FIELDS = {
    "user_id": pyarrow.string(),
    "item_ids": pyarrow.list_(pyarrow.string()),
    "scores": pyarrow.list_(pyarrow.float32()),
    "unknown": pyarrow.int32(),
}


def beam_recommend_all(
    model: str,
    histories: Sequence[str],
    out: str,
    *,
    pipelines: BeamPipelines | None = None,
    k: int = 10,
    exclude_history: bool | None = None,
    max_length: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> int:
    """Recommend items for every user; see `recommend_all`, which does the same on one machine.

    Model, histories and `out` may be on any filesystem that Beam supports. The runner retries failed work; a pipeline
    that was stopped starts from scratch.

    Args:
        model: folder of a model or of one of its versions.
        histories: a folder made by `prepare`, or files and patterns of events.
        out: `.parquet` file to create. Its name has no character of patterns.
        pipelines: the runner. Default: this process.
        k: number of items for each user. Default: 10.
        exclude_history: never recommend an item of the history. Default: as the model was trained.
        max_length: max number of events of a user; the latest are used. Default: all.
        columns: see `read_user_histories`. Default: none.

    Returns:
        The number of users.

    Raises:
        InputError: see `recommend_all`; or the pipeline failed.
    """
    check_recommend_all(out, k)
    check_result_name(out)
    if max_length is not None and max_length < 1:
        raise InputError(f"Argument `max_length` must be at least 1. Received: {max_length}.")
    if matched(out):
        raise InputError(f"{out} exists. Give another --out, or delete it first.")
    pipelines = pipelines or BeamPipelines()
    recommend = _Recommend(_version(model.rstrip("/")), k, exclude_history)
    with work_folder(out) as work:
        read = _reader(pipelines, work, histories, max_length, columns or {})

        def build(pipeline: beam.Pipeline) -> None:
            users = read(pipeline)
            rows = users | beam.BatchElements(USERS_PER_BATCH, USERS_PER_BATCH) | beam.ParDo(recommend)
            schema = pyarrow.schema(list(_FIELDS.items()))
            rows | WriteToParquet(f"{work}/whole.parquet", schema, num_shards=1, shard_name_template="")
            count = users | beam.combiners.Count.Globally()
            count | "Note" >> beam.Map(lambda number: write_bytes(f"{work}/users", str(number).encode()))

        pipelines.run(build)
        users = int(read_bytes(f"{work}/users"))
        FileSystems.rename([f"{work}/whole.parquet"], [out])
    return users


def _version(model: str) -> str:
    """Return the version's folder, as `version_folder` does for a local folder."""
    if matched(f"{model}/{SAVED_MODEL_FILE}"):
        return model
    found = [path.rsplit("/", 2)[-2] for path in matched_below(model, f"*/{SAVED_MODEL_FILE}")]
    numbers = sorted((name for name in found if name.isascii() and name.isdigit()), key=int)
    if not numbers:
        raise InputError(
            f"{model} holds no version of a model. Make one with `laclrec-tf export RUN --to saved_models/NAME`."
        )
    return f"{model}/{numbers[-1]}"


class _Recommend(beam.DoFn):
    """Answer batches of users with a model, which each worker loads once."""

    def __init__(self, version: str, k: int, exclude_history: bool | None) -> None:
        self.version, self.k, self.exclude_history = version, k, exclude_history

    def setup(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            _fetch_folder(self.version, Path(scratch))
            self.model = LoadedModel(Path(scratch))

    def process(self, element: list[tuple[str, list[str]]]) -> Iterator[dict[str, Any]]:
        user_ids, histories = zip(*element, strict=True)
        yield from recommended(self.model, user_ids, histories, self.k, self.exclude_history).to_dicts()

    def teardown(self) -> None:
        self.model.close()


def _fetch_folder(path: str, to: Path) -> None:
    for file in matched_below(path, "**"):
        name = file.split(f"{path.rstrip('/')}/", 1)[1]
        if Path(file).is_dir() or name.endswith("/"):
            continue
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        with fetched(file) as local:
            local.replace(to / name)


def _reader(
    pipelines: BeamPipelines, work: str, sources: Sequence[str], max_length: int | None, columns: Mapping[str, str]
) -> Callable[[beam.Pipeline], beam.PCollection]:
    """Return a function that adds the reading of `(user, items)` to a pipeline."""
    folder = sources[0].rstrip("/")
    if matched(f"{folder}/{DATASET_FILE}"):
        if len(sources) > 1 or columns:
            raise InputError(
                f"{folder} is a folder of prepared data, so it cannot be combined with other files or columns. "
                "Give it alone, or give files of events."
            )
        names = json.loads(read_bytes(f"{folder}/{DATASET_FILE}"))["shards"]
        shards = [f"{folder}/{name}" for name in names]
        read_shard = _ReadShard(f"{folder}/{VOCABULARY_FILE}", max_length)
        return lambda pipeline: (
            pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(read_shard) | "Spread" >> beam.Reshuffle()
        )
    paths = [path for pattern in sources for path in existing(pattern)]
    names = {**COLUMNS, **columns}
    by_role = {role: names[f"{role}_column"] for role in ("user", "item", "time")}
    _, pieces, _ = read_event_files(pipelines, work, paths, by_role)
    events = ReadPiece(work)
    return lambda pipeline: (
        pipeline
        | beam.Create(pieces)
        | beam.Reshuffle()
        | beam.ParDo(events)
        | without_duplicates()
        | last_events(max_length)
    )


class _ReadShard(beam.DoFn):
    def __init__(self, vocabulary: str, max_length: int | None) -> None:
        self.path, self.last = vocabulary, None if max_length is None else -max_length

    def setup(self) -> None:
        with fetched(self.path) as file:
            self.vocabulary = ItemVocabulary.load(file)

    def process(self, element: str) -> Iterator[tuple[str, list[str]]]:
        with fetched(element) as file:
            user_ids, histories = read_shard(file)
        for user_id, item_ids in zip(user_ids, histories, strict=True):
            yield user_id, self.vocabulary.to_items(item_ids[self.last :].tolist())
