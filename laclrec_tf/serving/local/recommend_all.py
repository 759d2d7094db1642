"""The best items for every user, in one Parquet file: batched through a SavedModel, and gone on with after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from laclrec_tf.data.user_histories import read_user_histories
from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.runtime.output_files import atomic_write, file_lock
from laclrec_tf.runtime.terminal import progress_bar
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.local.models import recommend_in_batches
from laclrec_tf.serving.version.folder import version_folder
from laclrec_tf.serving.version.manifest import manifest_sha256, read_manifest

ABOUT_FILE = "about.json"
USERS_IN_A_PART = 4096
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.String,
    "item_ids": pl.List(pl.String),
    "scores": pl.List(pl.Float32),
    "unknown": pl.Int32,
}


@contextmanager
def parts_folder(out: Path, about: Mapping[str, Any]) -> Iterator[Path]:
    """Hold the folder of the parts of a table, `OUT.parts`, made if it is missing.

    Args:
        out: the table's file.
        about: what the parts are made of; parts of something else are not gone on with.

    Yields:
        The folder.

    Raises:
        InputError: `out` exists, the parts there are of something else, or another process works on them.
    """
    if out.exists():
        raise InputError(f"{out} exists. Give another --out, or delete it first.")
    folder = out.with_name(f"{out.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / ".lock", busy=f"Another process writes {out}. Wait for it, or give another --out."):
        _check_about(folder, out, dict(about))
        yield folder


def missing_parts(folder: Path, n_parts: int) -> list[int]:
    """List the parts that are not yet written.

    Args:
        folder: of `parts_folder`.
        n_parts: how many there will be.
    """
    return [part for part in range(n_parts) if not part_file(folder, part).exists()]


def part_file(folder: Path, part: int) -> Path:
    """Name the file of a part."""
    return folder / f"part-{part:05d}.parquet"


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file with `atomic_write`.

    Args:
        file: the file.
        write: writes to the path that it is given.

    Raises:
        InputError: it cannot be written; nothing is left of it.
    """
    try:
        with atomic_write(file) as partial:
            write(partial)
    except (OSError, pl.exceptions.PolarsError) as error:  # polars has errors of its own for a full disk
        reason = reason_of(error) if isinstance(error, OSError) else str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"Cannot write {file}: {reason}. Make room or mend the disk, then run the same command again to go on."
        ) from error


def join_parts(folder: Path, n_parts: int, out: Path) -> None:
    """Put the parts together, in order, and take their folder away.

    Args:
        folder: of `parts_folder`; all parts are there.
        n_parts: how many.
        out: the Parquet file to make.

    Raises:
        InputError: a part is damaged; it is taken away, so that the next run makes it again. Or see `write_whole`.
    """
    parts = [part_file(folder, part) for part in range(n_parts)]
    try:
        write_whole(out, lambda file: pl.scan_parquet(parts, glob=False).sink_parquet(file))
    except (InputError, pl.exceptions.PanicException):
        _take_damaged_away(parts)
        raise  # no part is to blame
    shutil.rmtree(folder)


def _take_damaged_away(parts: Sequence[Path]) -> None:
    damaged = [part for part in parts if not _is_readable(part)]
    for part in damaged:
        part.unlink()
    if damaged:
        others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise InputError(f"{damaged[0]}{others} was damaged and is deleted. Run the same command again to go on.")


def _is_readable(part: Path) -> bool:
    try:
        pl.read_parquet(part, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    return True


def _check_about(folder: Path, out: Path, about: dict[str, Any]) -> None:
    file = folder / ABOUT_FILE
    text = json.dumps(about, indent=2) + "\n"
    if not file.exists():
        write_whole(file, lambda path: path.write_text(text, encoding="utf-8"))
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        before = {}
    differing = [name for name, value in about.items() if before.get(name) != value] if before != about else []
    if differing:
        raise InputError(
            f"{folder} holds parts of {out} that were made with another {' and another '.join(differing)}. "
            "Delete the folder to begin anew, or give another --out."
        )


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
