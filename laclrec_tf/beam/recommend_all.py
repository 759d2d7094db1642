"""`recommend-all` on Apache Beam: the local engine's rows, in no particular order."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
from laclrec_tf.beam.histories import LastEvents, WithoutDuplicates
from laclrec_tf.beam.runner import BeamPipelines
from laclrec_tf.data.prepared import DATASET_FILE, VOCABULARY_FILE, read_shard
from laclrec_tf.data.user_histories import COLUMNS
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.local.recommend_all import check_recommend_all, recommended
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE

USERS_AT_A_TIME = 1024
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
    exclude_history: bool = True,
    max_length: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> int:
    """Recommend items for every user; see `recommend_all` for what its arguments have in common with these.

    Model, histories and `out` may be on any filesystem that Beam knows. The runner tries failed work again; a pipeline
    that was stopped begins anew.

    Args:
        model: a model's folder or a version's.
        histories: a folder that `prepare` made, or files and patterns of events.
        out: the `.parquet` file to make; no character of patterns is in it.
        pipelines: the runner. Default: this process.
        k: how many items. Default: 10.
        exclude_history: never recommend an item of the history. Default: True.
        max_length: most recent events of each user. Default: 50 of files; of a folder, what it was prepared with.
        columns: see `read_user_histories`.

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
    asked = Recommend(_version(model.rstrip("/")), k, exclude_history)
    with work_folder(out) as work:
        read = _reader(pipelines, work, histories, max_length, columns or {})

        def build(pipeline: beam.Pipeline) -> None:
            users = pipeline | read
            rows = users | beam.BatchElements(USERS_AT_A_TIME, USERS_AT_A_TIME) | beam.ParDo(asked)
            schema = pyarrow.schema(list(_FIELDS.items()))
            rows | WriteToParquet(f"{work}/whole.parquet", schema, num_shards=1, shard_name_template="")
            count = users | beam.combiners.Count.Globally()
            count | "Note" >> beam.Map(lambda number: write_bytes(f"{work}/users", str(number).encode()))

        pipelines.run(build)
        users = int(read_bytes(f"{work}/users"))
        FileSystems.rename([f"{work}/whole.parquet"], [out])
    return users


class Recommend(beam.DoFn):
    """Asks a model, which each worker loads once, for the items of many users.

    Args:
        version: the version's folder.
        k: how many items.
        exclude_history: leave out the items of the history.
    """

    def __init__(self, version: str, k: int, exclude_history: bool) -> None:
        self.version, self.k, self.exclude_history = version, k, exclude_history

    def setup(self) -> None:
        """Fetch and load the model."""
        with tempfile.TemporaryDirectory() as scratch:
            _fetch_folder(self.version, Path(scratch))
            self.model = LoadedModel(Path(scratch))

    def process(self, element: list[tuple[str, list[str]]]) -> Iterator[dict[str, Any]]:
        """Take users with their histories, give a row each."""
        user_ids, histories = zip(*element, strict=True)
        yield from recommended(self.model, user_ids, histories, self.k, self.exclude_history).to_dicts()

    def teardown(self) -> None:
        """Give the memory back."""
        self.model.close()


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


def _reader(
    pipelines: BeamPipelines, work: str, sources: Sequence[str], max_length: int | None, columns: Mapping[str, str]
) -> beam.PTransform:
    folder = sources[0].rstrip("/")
    if matched(f"{folder}/{DATASET_FILE}"):
        if len(sources) > 1 or columns:
            raise InputError(f"{folder} is a folder. Give it alone, without columns, or give files of events.")
        names = json.loads(read_bytes(f"{folder}/{DATASET_FILE}"))["shards"]
        shards = beam.Create([f"{folder}/{name}" for name in names])
        read_shards = beam.ParDo(_ReadShard(f"{folder}/{VOCABULARY_FILE}", max_length))
        return _Chain([shards, beam.Reshuffle(), read_shards, beam.Reshuffle()])
    paths = [path for pattern in sources for path in existing(pattern)]
    names = {**COLUMNS, **columns}
    named = {role: names[f"{role}_column"] for role in ("user", "item", "time")}
    _, pieces = read_event_files(pipelines, work, paths, named)
    length = 50 if max_length is None else max_length
    events = [beam.Create(pieces), beam.Reshuffle(), beam.ParDo(ReadPiece(work))]
    return _Chain([*events, WithoutDuplicates(), LastEvents(length)])


class _Chain(beam.PTransform):
    def __init__(self, transforms: list[beam.PTransform]) -> None:
        super().__init__()
        self.transforms = transforms

    def expand(self, begin: Any) -> Any:
        for number, transform in enumerate(self.transforms):
            begin = begin | f"Step{number}" >> transform
        return begin


def _version(model: str) -> str:
    """Find the version to ask, as `version_folder` does for a folder of this machine."""
    if matched(f"{model}/{SAVED_MODEL_FILE}"):
        return model
    found = [path.rsplit("/", 2)[-2] for path in matched_below(model, f"*/{SAVED_MODEL_FILE}")]
    numbers = sorted((name for name in found if name.isascii() and name.isdigit()), key=int)
    if not numbers:
        raise InputError(
            f"{model} holds no version of a model. Make one with `laclrec-tf export RUN --to saved_models/NAME`."
        )
    return f"{model}/{numbers[-1]}"


def _fetch_folder(path: str, to: Path) -> None:
    for file in matched_below(path, "**"):
        name = file.split(f"{path.rstrip('/')}/", 1)[1]
        if Path(file).is_dir() or name.endswith("/"):
            continue
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        with fetched(file) as local:
            local.replace(to / name)
