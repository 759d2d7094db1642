"""Item vectors from data: from co-occurrence in histories, from neighbours of new items, and the files about items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse
import scipy.sparse.linalg

from laclrec_tf.data.event_files import as_ids, is_blank, layout_of, read_columns, row_place
from laclrec_tf.data.formats.layouts import Layout, Reading
from laclrec_tf.errors import InputError

WINDOW = 5
SHARE_OF_NORM = 0.85


def cooccurrence_vectors(
    histories: Sequence[np.ndarray],
    n_items: int,
    width: int,
    *,
    window: int = WINDOW,
    scale: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """Factorise the positive pointwise mutual information of items that occur near each other in histories.

    An item's vector is its position along the `width` strongest directions (left singular vectors) of the matrix of
    `mutual_information`. A random rotation spreads the information equally over the coordinates.

    Args:
        histories: per user `[n]` integer ids `1..N`, oldest first; pass training parts only.
        n_items: catalogue size `N`.
        width: size `D` of a vector.
        window: max distance between two items that counts, at least 1. Default: 5.
        scale: root mean square of the result. Default: 0.1.
        seed: seed of the rotation, and of the vectors of items without neighbours, which are normal with standard
            deviation 0.02. Default: 0.

    Returns:
        `[N, D]` float32, the vector of item 1 first.

    Raises:
        InputError: an argument is out of its range, or an id is not in `1..N`.

    Example:
        >>> cooccurrence_vectors([np.array([1, 2, 3]), np.array([3, 4])], n_items=4, width=2).shape
        (4, 2)

    Reference: Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", 2014.
    """
    for name, value in (("n_items", n_items), ("width", width), ("window", window)):
        if value < 1:
            raise InputError(f"Argument `{name}` must be at least 1. Received: {value}.")
    if scale <= 0:
        raise InputError(f"Argument `scale` must be above 0. Received: {scale}.")
    information = mutual_information(histories, n_items, window)
    generator = np.random.default_rng(seed)
    vectors = generator.normal(scale=0.02, size=(n_items, width))
    seen = np.flatnonzero(information.sum(axis=1))
    # The method finds one direction fewer than the matrix has rows.
    rank = min(width, n_items - 1)
    if rank and seen.size:
        start = generator.normal(size=n_items)
        directions, strengths, _ = scipy.sparse.linalg.svds(information, k=rank, v0=start)
        directions = directions[:, strengths > 1e-9 * strengths.max()]
        # A direction and its opposite are equally good; which one is found depends on the processor.
        directions = directions * np.where(start @ directions < 0, -1, 1)
        rotation, _ = np.linalg.qr(generator.normal(size=(width, width)))
        vectors[seen] = directions[seen] @ rotation[: directions.shape[1]]
        vectors[seen] *= scale / np.sqrt(np.mean(np.square(vectors[seen])))
    return vectors.astype(np.float32)


def mutual_information(histories: Sequence[np.ndarray], n_items: int, window: int) -> scipy.sparse.csr_array:
    """Compute the positive pointwise mutual information of items: `max(0, log(P(i, j) / (P(i) P(j))))`.

    Args:
        histories: per user `[n]` integer ids `1..N`.
        n_items: catalogue size `N`.
        window: max distance that counts; a pair at distance `d` counts `1 / d`.

    Returns:
        `[N, N]` float64, symmetric and sparse, item 1 first.

    Raises:
        InputError: an id is not in `1..N`.

    Example:
        >>> mutual_information([np.array([1, 2])], n_items=2, window=1).toarray().round(2).tolist()
        [[0.0, 0.69], [0.69, 0.0]]
    """
    counts = scipy.sparse.coo_array(cooccurrence_counts(histories, n_items, window))
    frequency = counts.sum(axis=1)
    chance = frequency[counts.row] * frequency[counts.col] / max(frequency.sum(), 1)
    information = np.maximum(np.log(counts.data / chance), 0)
    return scipy.sparse.csr_array((information, (counts.row, counts.col)), shape=counts.shape)


def cooccurrence_counts(
    histories: Sequence[np.ndarray], n_items: int, window: int, *, by_distance: bool = True
) -> scipy.sparse.csr_array:
    """Count how often items occur near each other in a history.

    Args:
        histories: per user `[n]` integer ids `1..N`.
        n_items: catalogue size `N`.
        window: max distance that counts.
        by_distance: a pair at distance `d` counts `1 / d`; if False, it counts 1. Default: True.

    Returns:
        `[N, N]` float64, symmetric and sparse, item 1 first; an item is not counted with itself.

    Raises:
        InputError: an id is not in `1..N`.

    Example:
        >>> cooccurrence_counts([np.array([1, 2, 3])], n_items=3, window=2).toarray().tolist()
        [[0.0, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.0]]
    """
    counts = follower_counts(histories, n_items, window, by_distance=by_distance, repeats=False)
    return counts + counts.T


def follower_counts(
    histories: Sequence[np.ndarray], n_items: int, window: int, *, by_distance: bool = True, repeats: bool = True
) -> scipy.sparse.csr_array:
    """Count how often each item followed each other one in a history.

    Args:
        histories: per user `[n]` integer ids `1..N`, oldest first.
        n_items: catalogue size `N`.
        window: max distance of a follower that counts.
        by_distance: a follower at distance `d` counts `1 / d`; if False, it counts 1. Default: True.
        repeats: whether an item that follows itself counts. Default: True.

    Returns:
        `[N, N]` float64, sparse: row `i`, column `j` for item `j` after item `i`; item 1 first.

    Raises:
        InputError: an id is not in `1..N`.

    Example:
        >>> follower_counts([np.array([1, 2, 1])], n_items=2, window=2).toarray().tolist()
        [[0.5, 1.0], [1.0, 0.0]]
    """
    items = np.concatenate([np.zeros(0, np.int32), *histories])
    if items.size and (items.min() < 1 or items.max() > n_items):
        raise InputError(
            f"Argument `histories` must hold ids from 1 to {n_items}. Received: {items.min()} to {items.max()}."
        )
    users = np.repeat(np.arange(len(histories), dtype=np.int32), [len(history) for history in histories])
    counts = scipy.sparse.csr_array((n_items, n_items))
    for distance in range(1, window + 1):  # summed after each distance, so that memory holds the pairs of one distance
        left, right = items[:-distance] - 1, items[distance:] - 1
        pairs = users[:-distance] == users[distance:]
        if not repeats:
            pairs &= left != right
        weights = np.full(np.count_nonzero(pairs), 1 / distance if by_distance else 1.0)
        counts = counts + scipy.sparse.csr_array((weights, (left[pairs], right[pairs])), shape=(n_items, n_items))
    return counts


def cooccurrence_weights(
    histories: Sequence[np.ndarray], n_items: int, n_new: int, *, window: int = WINDOW
) -> scipy.sparse.csr_array:
    """Count how often each new item occurs near each old item; a pair at distance `d` counts `1 / d`.

    Args:
        histories: per user `[n]` integer ids, oldest first: `1..N` are old items, `N + 1..N + A` new items.
        n_items: number of old items `N`.
        n_new: number of new items `A`.
        window: max distance that counts. Default: 5, as for `cooccurrence_vectors`.

    Returns:
        `[A, N]` float64, sparse.

    Raises:
        InputError: an id is not in `1..N + A`.

    Example:
        >>> cooccurrence_weights([np.array([1, 3, 2])], n_items=2, n_new=1).toarray().tolist()
        [[1.0, 1.0]]
    """
    return scipy.sparse.csr_array(cooccurrence_counts(histories, n_items + n_new, window)[n_items:, :n_items])


def neighbour_vectors(
    weights: scipy.sparse.csr_array, vectors: np.ndarray, *, share_of_norm: float = SHARE_OF_NORM
) -> tuple[np.ndarray, np.ndarray]:
    """Give each new item the direction of the weighted mean of its neighbours.

    A mean is shorter than the vectors it is made of, and scores are dot products: with the norm of the mean, a new item
    is hardly ever recommended. With the mean norm of its neighbours it is recommended too often, since a mean agrees
    more with what users want than any single row. With 0.85 of that norm, and weights of `cooccurrence_weights`, items
    of Amazon Beauty treated as new were among the ten best items, and were hits, as often as with their trained rows.

    An item without neighbours gets the mean of all rows. Its score is the mean of all scores, so it is never the best
    item, and items without data do not displace others.

    Args:
        weights: `[A, N]` sparse, the weight of each old item as a neighbour of each new item, none below 0.
        vectors: `[N, D]` rows of the old items.
        share_of_norm: norm of a new row as a share of the weighted mean norm of its neighbours, above 0. Default: 0.85.

    Returns:
        `[A, D]` float32 rows, and `[A]` bool, True where an item has neighbours.

    Raises:
        InputError: the shapes do not match, or `share_of_norm` is not above 0.

    Example:
        >>> weights = scipy.sparse.csr_array([[3.0, 1.0], [0.0, 0.0]])
        >>> rows, found = neighbour_vectors(weights, np.array([[4.0, 0.0], [0.0, 4.0]]), share_of_norm=1)
        >>> rows.astype(float).round(2).tolist(), found.tolist()
        ([[3.79, 1.26], [2.0, 2.0]], [True, False])
    """
    if weights.shape[1] != len(vectors):
        raise InputError(
            "Arguments `weights` [A, N] and `vectors` [N, D] must have the same number of old items. "
            f"Received: {weights.shape[1]} and {len(vectors)}."
        )
    if share_of_norm <= 0:
        raise InputError(f"Argument `share_of_norm` must be above 0. Received: {share_of_norm}.")
    vectors = np.asarray(vectors, np.float64)
    totals = np.asarray(weights.sum(axis=1)).reshape(-1)
    found = totals > 0
    shares = scipy.sparse.diags_array(1 / np.where(found, totals, 1)) @ weights
    rows = shares @ vectors  # [A, D]
    wanted = share_of_norm * (shares @ np.linalg.norm(vectors, axis=1))
    norms = np.linalg.norm(rows, axis=1)
    # Neighbours of opposite directions cancel out: such a row keeps its small norm.
    directed = norms > 1e-6 * wanted
    rows[directed] *= (wanted[directed] / norms[directed])[:, np.newaxis]
    rows[~found] = vectors.mean(axis=0)
    return rows.astype(np.float32), found


def read_neighbours(file: str | Path) -> pl.DataFrame:
    """Read rows of an item, one of its neighbours and, if the file has the column, the neighbour's weight.

    The formats are the same as for events: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, each also with `.gz`, and `.parquet`.

    Args:
        file: the file, with the columns `item`, `neighbour` and optionally `weight`.

    Returns:
        `item` String, `neighbour` String, `weight` Float64 (1 without the column), in the order of the file.

    Raises:
        InputError: the file is missing, damaged, empty or of an unknown format, a column is missing, an id is blank, or
            a weight is not a finite number above 0. The message names the file and the first bad row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "neighbours.csv"
        >>> _ = file.write_text("item,neighbour\\nnew tent,tent\\n")
        >>> read_neighbours(file).rows()
        [('new tent', 'tent', 1.0)]
    """
    file = Path(file)
    names = {name: name for name in ("item", "neighbour", "weight")}
    layout = layout_of(file, names, Reading(), named_by_option=False)
    raw = read_columns(file, names, optional=("weight",), named_by_option=False, layout=layout)
    table = pl.DataFrame([_ids(file, raw, name, layout) for name in ("item", "neighbour")])
    if "weight" not in raw.columns:
        return table.with_columns(weight=pl.lit(1.0))
    table = table.with_columns(raw["weight"].cast(pl.Float64, strict=False))
    is_good = pl.col("weight").is_finite() & (pl.col("weight") > 0)
    bad = table.select(pl.arg_where(~is_good.fill_null(False)).first()).item()
    if bad is not None:
        raise InputError(
            f"{file}, {row_place(file, raw['row'][bad], layout)}: the weight {raw['weight'][bad]!r} is not a finite "
            "number above 0. Correct the row."
        )
    return table


def read_titles(file: str | Path, *, item_column: str = "item_id", title_column: str = "title") -> dict[str, str]:
    """Read the titles of items.

    The formats are the same as for events, see `read_interactions`, with any two columns. Rows without a title are left
    out, and white space within a title becomes single spaces. If an item occurs twice, the last row counts.

    Args:
        file: the file; other columns than the two are ignored.
        item_column: name of the column of item ids; a number in a file without a header. Default: "item_id".
        title_column: name of the column of titles; a number in a file without a header. Default: "title".

    Returns:
        The title of each item, in the order of the file.

    Raises:
        InputError: the file is missing, damaged, empty, not understood or of an unknown format, a column is missing, or
            an id is blank. The message names the file and the first bad row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "titles.csv"
        >>> _ = file.write_text("item_id,title\\n007,Two-person tent\\n008,\\n")
        >>> read_titles(file)
        {'007': 'Two-person tent'}
    """
    file = Path(file)
    if item_column == title_column:
        raise InputError(f"Arguments `item_column` and `title_column` must differ. Received: {item_column!r} twice.")
    columns = {"title-item": item_column, "title": title_column}
    layout = layout_of(file, columns, Reading())
    raw = read_columns(file, columns, layout=layout)
    items = _ids(file, raw, item_column, layout)
    titles = raw[title_column].cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars()
    return {item: title for item, title in zip(items, titles, strict=True) if title}


def _ids(file: Path, raw: pl.DataFrame, name: str, layout: Layout | None) -> pl.Series:
    ids = as_ids(file, raw[name])
    blank = pl.select(pl.arg_where(is_blank(pl.lit(ids))).first()).item()
    if blank is not None:
        place = f"{file}, {row_place(file, raw['row'][blank], layout)}"
        raise InputError(f"{place}: the {name} is empty. Fill it in or remove the row.")
    return ids
