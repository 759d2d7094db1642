"""The best items for every user, in one Parquet file: batched through a SavedModel, and gone on with after a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from laclrec_tf.data.user_histories import read_user_histories
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.terminal import progress_bar
from laclrec_tf.serving.batch_recommendation import recommend_in_batches
from laclrec_tf.serving.loaded_model import LoadedModel
from laclrec_tf.serving.serving_error import ServingError
from laclrec_tf.serving.version.folder import version_folder
from laclrec_tf.serving.version.manifest import manifest_sha256, read_manifest
from pipelines.finished_parts import join_parts, missing_parts, part_file, parts_folder, write_whole

USERS_IN_A_PART = 4096
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.String,
    "item_ids": pl.List(pl.String),
    "scores": pl.List(pl.Float32),
    "unknown": pl.Int32,
}


def recommend_all(
    model: str | Path,
    histories: Sequence[str | Path],
    out: str | Path,
    *,
    k: int = 10,
    exclude_history: bool = True,
    max_length: int | None = None,
    columns: Mapping[str, str] | None = None,
    show_progress: bool = True,
) -> int:
    """Recommend items for every user, as a server of the model would for each history.

    Every few thousand users are a part, kept in `OUT.parts` until all are there: a killed run goes on where it was.

    Args:
        model: `saved_models/NAME`, of which the newest version is taken, or `saved_models/NAME/VERSION`.
        histories: a folder that `prepare` made, or files of events; see `read_user_histories`.
        out: the `.parquet` file to make: `user_id` String, `item_ids` list of String, best first, `scores` list of
            Float32, `unknown` Int32, the history's items that the model does not know.
        k: how many items. Default: 10.
        exclude_history: never recommend an item of the history. Default: True.
        max_length: see `read_user_histories`.
        columns: see `read_user_histories`.
        show_progress: Default: True.

    Returns:
        The number of users.

    Raises:
        InputError: an argument is wrong, the model or the histories cannot be read, the model does not answer, `out`
            exists or parts of it were made otherwise.

    Example:
        >>> recommend_all("saved_models/shop", ["data"], "best.parquet", k=20)  # doctest: +SKIP
        22362
    """
    out = Path(out)
    check_recommend_all(out, k)
    folder = version_folder(Path(model))
    read_manifest(folder)
    users = read_user_histories(histories, max_length=max_length, columns=columns)
    about = {
        "model": manifest_sha256(folder),
        "histories": users.fingerprint,
        "k": k,
        "exclude_history": exclude_history,
        "users_in_a_part": USERS_IN_A_PART,
    }
    starts = range(0, len(users.user_ids), USERS_IN_A_PART)
    chosen = [slice(start, start + USERS_IN_A_PART) for start in starts]
    with parts_folder(out, about) as parts, progress_bar(disable=not show_progress) as progress:
        task = progress.add_task("Recommending", total=len(chosen))
        missing = missing_parts(parts, len(chosen))
        progress.advance(task, len(chosen) - len(missing))
        loaded = LoadedModel(folder) if missing else None
        for part in missing:
            assert loaded is not None
            ids, asked = users.user_ids[chosen[part]], users.histories[chosen[part]]
            write_whole(part_file(parts, part), recommended(loaded, ids, asked, k, exclude_history).write_parquet)
            progress.advance(task)
        if loaded is not None:
            loaded.close()
        join_parts(parts, len(chosen), out)
    return len(users.user_ids)


def check_recommend_all(out: str | Path, k: int) -> None:
    """Refuse an output that is no Parquet file, and a `k` below 1.

    Raises:
        InputError: as told.
    """
    if not str(out).endswith(".parquet"):
        raise InputError(f"--out must be a file that ends in .parquet. Received: {out}.")
    if k < 1:
        raise InputError(f"Argument `k` must be at least 1. Received: {k}.")


def recommended(
    model: LoadedModel, user_ids: Sequence[str], histories: Sequence[Sequence[str]], k: int, exclude_history: bool
) -> pl.DataFrame:
    """Ask for some users' items.

    Args:
        model: a version with the signature `retrieve`.
        user_ids: the users.
        histories: item strings of each, oldest first.
        k: how many items.
        exclude_history: leave out the items of the history.

    Returns:
        A row a user, in their order, as `recommend_all` writes them.

    Raises:
        InputError: the model does not answer.
    """
    rows: list[tuple[list[str], list[float], int]] = [([], [], 0)] * len(user_ids)
    try:
        for places, answers in recommend_in_batches(model, histories, k=k, exclude_history=exclude_history):
            items, scores = answers["item_ids"].tolist(), answers["scores"].tolist()
            for at, place in enumerate(places):
                filled = answers["filled"][at]  # fewer than k when fewer items are eligible
                names = [item.decode("utf-8") for item in items[at][:filled]]
                rows[place] = (names, scores[at][:filled], int(answers["unknown"][at]))
    except ServingError as error:
        raise InputError(f"{model.folder} does not recommend: {error.message}. Export the model again.") from error
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pl.DataFrame(dict(zip(SCHEMA, [user_ids, *columns], strict=True)), schema=SCHEMA, strict=False)
