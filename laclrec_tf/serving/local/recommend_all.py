"""Recommend items for all users with a SavedModel, into one Parquet file; a killed run can resume."""

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
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.local.models import recommend_in_batches
from laclrec_tf.serving.version.folder import version_folder
from laclrec_tf.serving.version.held_out_topk import ranked_items
from laclrec_tf.serving.version.manifest import manifest_sha256, read_manifest

ABOUT_FILE = "about.json"
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
    exclude_history: bool | None = None,
    max_length: int | None = None,
    columns: Mapping[str, str] | None = None,
    show_progress: bool = True,
) -> int:
    """Recommend items for every user, the same as a server of the model recommends for each history.

    The table is written in parts of some thousand users to the folder `OUT.parts`, so that a killed run can resume. The
    parts are joined at the end.

    Args:
        model: `saved_models/NAME`, of which the newest version is taken, or `saved_models/NAME/VERSION`.
        histories: a folder that `prepare` made, or files of events; see `read_user_histories`.
        out: the `.parquet` file to write: `user_id` String; `item_ids` list of String, best first; `scores` list of
            Float32; `unknown` Int32, number of the history's items that the model does not know.
        k: max number of items. Default: 10.
        exclude_history: never recommend an item of the history. Default: as the model was trained.
        max_length: see `read_user_histories`.
        columns: see `read_user_histories`.
        show_progress: whether to show a progress bar. Default: True.

    Returns:
        The number of users.

    Raises:
        InputError: an argument is wrong, the model or the histories cannot be read, the model does not answer, `out`
            exists, or the parts of an earlier run were made with other arguments.

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
        missing = [part for part in range(len(chosen)) if not part_file(parts, part).exists()]
        progress.advance(task, len(chosen) - len(missing))
        if missing:
            loaded = LoadedModel(folder)
            for part in missing:
                ids, queries = users.user_ids[chosen[part]], users.histories[chosen[part]]
                write_whole(part_file(parts, part), recommended(loaded, ids, queries, k, exclude_history).write_parquet)
                progress.advance(task)
            loaded.close()
        join_parts(parts, len(chosen), out)
    return len(users.user_ids)


def check_recommend_all(out: str | Path, k: int) -> None:
    """Raise `InputError` if `out` is not named `*.parquet` or `k` is below 1."""
    if not str(out).endswith(".parquet"):
        raise InputError(f"--out must be a file that ends in .parquet. Received: {out}.")
    if k < 1:
        raise InputError(f"Argument `k` must be at least 1. Received: {k}.")


def recommended(
    model: LoadedModel,
    user_ids: Sequence[str],
    histories: Sequence[Sequence[str]],
    k: int,
    exclude_history: bool | None,
) -> pl.DataFrame:
    """Recommend items for some users.

    Args:
        model: a version with the signature `retrieve`.
        user_ids: the users.
        histories: item strings of each user, oldest first.
        k: max number of items.
        exclude_history: never recommend an item of the history.

    Returns:
        One row for each user, in their order, with the columns that `recommend_all` writes.

    Raises:
        InputError: the model does not answer.
    """
    rows: list[tuple[tuple[str, ...], tuple[float, ...], int]] = [((), (), 0)] * len(user_ids)
    for places, answers in recommend_in_batches(model, histories, k=k, exclude_history=exclude_history):
        for place, best, unknown in zip(places, ranked_items(answers), answers["unknown"].tolist(), strict=True):
            rows[place] = (best.item_ids, best.scores, unknown)
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pl.DataFrame(dict(zip(SCHEMA, [user_ids, *columns], strict=True)), schema=SCHEMA, strict=False)


@contextmanager
def parts_folder(out: Path, about: Mapping[str, Any]) -> Iterator[Path]:
    """Make and lock the folder of a table's parts, `OUT.parts`.

    Args:
        out: the table's file.
        about: the arguments that the parts are made with.

    Yields:
        The folder.

    Raises:
        InputError: `out` exists, the parts in the folder were made with other arguments, or another process works on
            them.
    """
    if out.exists():
        raise InputError(f"{out} exists. Give another --out, or delete it first.")
    folder = out.with_name(f"{out.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / ".lock", busy=f"Another process writes {out}. Wait for it, or give another --out."):
        _check_about(folder, out, dict(about))
        yield folder


def _check_about(folder: Path, out: Path, about: dict[str, Any]) -> None:
    file = folder / ABOUT_FILE
    text = json.dumps(about, indent=2) + "\n"
    if file.is_symlink():  # its target would be written
        raise InputError(f"{file} is a symbolic link, which is not followed. Delete the link, then try again.")
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
            "Delete the folder to start from scratch, or give another --out."
        )


def part_file(folder: Path, part: int) -> Path:
    """Return the file of a part."""
    return folder / f"part-{part:05d}.parquet"


def join_parts(folder: Path, n_parts: int, out: Path) -> None:
    """Join the parts in order and delete their folder.

    Args:
        folder: the folder of `parts_folder`; no part is missing.
        n_parts: number of parts.
        out: the Parquet file to write.

    Raises:
        InputError: a part is damaged; it is deleted, so that the next run makes it again. Or see `write_whole`.
    """
    parts = [part_file(folder, part) for part in range(n_parts)]
    try:
        write_whole(out, lambda file: pl.scan_parquet(parts, glob=False).sink_parquet(file))
    except (InputError, pl.exceptions.PanicException):
        _delete_damaged(parts)
        raise  # the parts are not damaged
    shutil.rmtree(folder)


def _delete_damaged(parts: Sequence[Path]) -> None:
    damaged = [part for part in parts if not _is_readable(part)]
    for part in damaged:
        part.unlink()
    if damaged:
        others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise InputError(f"{damaged[0]}{others} was damaged and is deleted. Run the same command again to resume.")


def _is_readable(part: Path) -> bool:
    try:
        pl.read_parquet(part, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    return True


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file with `atomic_write`.

    Args:
        file: the file.
        write: function that writes to the path it is given.

    Raises:
        InputError: the file cannot be written; no part of it is left.
    """
    try:
        with atomic_write(file) as partial:
            write(partial)
    except (OSError, pl.exceptions.PolarsError) as error:  # polars has errors of its own for a full disk
        reason = reason_of(error) if isinstance(error, OSError) else str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"Cannot write {file}: {reason}. Free space or repair the disk, then run the same command again to resume."
        ) from error
