"""Where the item table begins: vectors of items that stand in the same histories are near each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse
import scipy.sparse.linalg

from laclrec_tf.data.event_files import as_ids, has_column, read_columns, row_place
from laclrec_tf.errors import InputError

WINDOW = 5
SHARE_OF_NORM = 0.85
_IDS = ("item", "neighbour")
_WEIGHT = "weight"
_ITEM, _TITLE = "item_id", "title"


def cooccurrence_vectors(
    histories: Sequence[np.ndarray],
    n_items: int,
    width: int,
    *,
    window: int = 5,
    scale: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """Factorise how much more often than by chance two items stand near each other.

    An item's vector is its place in the `width` strongest directions (left singular vectors) of the items' positive
    pointwise mutual information. The directions are turned at random, so that no coordinate carries more than another.

    Args:
        histories: per user `[n]` integer ids `1..N`, oldest first; give training parts only.
        n_items: catalogue size `N`.
        width: size `D` of a vector.
        window: the largest distance that counts, at least 1. Default: 5.
        scale: root mean square of the numbers. Default: 0.1.
        seed: of the turn, and of the vectors of items without neighbours, normal with deviation 0.02. Default: 0.

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
    met = np.flatnonzero(information.sum(axis=1))
    # The method finds one direction fewer than a matrix has rows.
    rank = min(width, n_items - 1)
    if rank and met.size:
        start = generator.normal(size=n_items)
        directions, strengths, _ = scipy.sparse.linalg.svds(information, k=rank, v0=start)
        directions = directions[:, strengths > 1e-9 * strengths.max()]
        # A direction and its opposite are equally good; which one is found depends on the processor.
        directions = directions * np.where(start @ directions < 0, -1, 1)
        turn, _ = np.linalg.qr(generator.normal(size=(width, width)))
        vectors[met] = directions[met] @ turn[: directions.shape[1]]
        vectors[met] *= scale / np.sqrt(np.mean(np.square(vectors[met])))
    return vectors.astype(np.float32)


def mutual_information(histories: Sequence[np.ndarray], n_items: int, window: int) -> scipy.sparse.csr_array:
    """Return how much more often than by chance items stand near each other: `max(0, log(P(i, j) / (P(i) P(j))))`.

    Args:
        histories: per user `[n]` integer ids `1..N`.
        n_items: catalogue size `N`.
        window: the largest distance that counts; a pair `d` apart counts `1 / d`.

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


def cooccurrence_counts(histories: Sequence[np.ndarray], n_items: int, window: int) -> scipy.sparse.csr_array:
    """Count how often items stand near each other, a pair `d` apart as `1 / d`.

    Args:
        histories: per user `[n]` integer ids `1..N`.
        n_items: catalogue size `N`.
        window: the largest distance that counts.

    Returns:
        `[N, N]` float64, symmetric and sparse, item 1 first; an item is not counted with itself.

    Raises:
        InputError: an id is not in `1..N`.

    Example:
        >>> cooccurrence_counts([np.array([1, 2, 3])], n_items=3, window=2).toarray().tolist()
        [[0.0, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.0]]
    """
    items = np.concatenate([np.zeros(0, np.int32), *histories])
    if items.size and (items.min() < 1 or items.max() > n_items):
        raise InputError(
            f"Argument `histories` must hold ids from 1 to {n_items}. Received: {items.min()} to {items.max()}."
        )
    users = np.repeat(np.arange(len(histories), dtype=np.int32), [len(history) for history in histories])
    counts = scipy.sparse.csr_array((n_items, n_items))
    for distance in range(1, window + 1):
        left, right = items[:-distance] - 1, items[distance:] - 1
        pairs = (users[:-distance] == users[distance:]) & (left != right)
        weights = np.full(np.count_nonzero(pairs), 1 / distance)
        counts = counts + scipy.sparse.csr_array((weights, (left[pairs], right[pairs])), shape=(n_items, n_items))
    return counts + counts.T


def cooccurrence_weights(
    histories: Sequence[np.ndarray], n_items: int, n_new: int, *, window: int = WINDOW
) -> scipy.sparse.csr_array:
    """Count how often each new item stands near each old one, a pair `d` apart as `1 / d`.

    Args:
        histories: per user `[n]` integer ids, oldest first: `1..N` are old items, `N + 1..N + A` new ones.
        n_items: old items `N`.
        n_new: new items `A`.
        window: the largest distance that counts. Default: 5, as for `cooccurrence_vectors`.

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
    """Give each new item the direction of its neighbours' weighted mean.

    A mean is shorter than what it is made of, and scores are dot products: left as it is, an item is hardly ever
    recommended. Drawn out to its neighbours' mean norm it comes too often, since a mean points more squarely at what
    users want than any single row. With 0.85 of that norm, and rows made by `cooccurrence_weights`, items of Amazon
    Beauty that were taken for new got the places among the ten best, and the hits, of their own trained rows.

    An item without neighbours gets the mean of all rows. Its score is the mean of all scores, so it can never be the
    best, and items that nothing is known of do not crowd out others.

    Args:
        weights: `[A, N]` sparse, how much each old item is a neighbour of each new one, none below 0.
        vectors: `[N, D]` rows of the old items.
        share_of_norm: length of a new row as a share of its neighbours' weighted mean norm, above 0. Default: 0.85.

    Returns:
        `[A, D]` float32 rows, and `[A]` bool, True where there are neighbours.

    Raises:
        InputError: the shapes do not fit, or `share_of_norm` is not above 0.

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
    # Neighbours that point in opposite directions leave no direction: such a row stays as short as it is.
    directed = norms > 1e-6 * wanted
    rows[directed] *= (wanted[directed] / norms[directed])[:, np.newaxis]
    rows[~found] = vectors.mean(axis=0)
    return rows.astype(np.float32), found


def read_neighbours(file: str | Path) -> pl.DataFrame:
    """Read rows of an item, a neighbour of it and, if the file has the column, the neighbour's weight.

    The formats are those of events: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, each also with `.gz`, and `.parquet`.

    Args:
        file: the file, with the columns `item`, `neighbour` and optionally `weight`.

    Returns:
        `item` String, `neighbour` String, `weight` Float64 (1 without the column), in the order of the file.

    Raises:
        InputError: the file is missing, damaged, empty or of an unknown ending, lacks a column, an id is empty, or a
            weight is no finite number above 0. The message names the file and the first bad row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "neighbours.csv"
        >>> _ = file.write_text("item,neighbour\\nnew tent,tent\\n")
        >>> read_neighbours(file).rows()
        [('new tent', 'tent', 1.0)]
    """
    file = Path(file)
    names = [*_IDS, _WEIGHT] if has_column(file, _WEIGHT) else list(_IDS)
    raw = read_columns(file, dict(zip(names, names, strict=True)), named_by_option=False)
    table = pl.DataFrame([as_ids(file, raw[name]) for name in _IDS])
    weights = (
        raw[_WEIGHT].cast(pl.Float64, strict=False) if _WEIGHT in names else pl.repeat(1.0, raw.height, eager=True)
    )
    table = table.with_columns(weights.alias(_WEIGHT))
    bad = {
        **{name: pl.col(name).is_null() | pl.col(name).str.contains(r"^\s*$") for name in _IDS},
        _WEIGHT: ~(pl.col(_WEIGHT).is_finite() & (pl.col(_WEIGHT) > 0)).fill_null(False),
    }
    for name, mask in bad.items():
        index = table.select(pl.arg_where(mask).first()).item()
        if index is not None:
            place = f"{file}, {row_place(file, raw['row'][index])}"
            if name == _WEIGHT:
                raise InputError(f"{place}: the weight {raw[name][index]!r} is no finite number above 0. Mend the row.")
            raise InputError(f"{place}: the {name} is empty. Fill it in or remove the row.")
    return table


def read_titles(file: str | Path) -> dict[str, str]:
    """Read rows of an item and its title.

    The formats are those of events: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, each also with `.gz`, and `.parquet`. Rows
    without a title are left out, and runs of white space in titles become one blank. Of an item that comes twice the
    last row counts.

    Args:
        file: the file, with the columns `item_id` and `title`; others are ignored.

    Returns:
        The title of each item, in the order of the file.

    Raises:
        InputError: the file is missing, damaged, empty or of an unknown ending, lacks a column, or an id is empty.
            The message names the file and the first bad row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "titles.csv"
        >>> _ = file.write_text("item_id,title\\n007,Two-person tent\\n008,\\n")
        >>> read_titles(file)
        {'007': 'Two-person tent'}
    """
    file = Path(file)
    raw = read_columns(file, {name: name for name in (_ITEM, _TITLE)}, named_by_option=False)
    items = as_ids(file, raw[_ITEM])
    empty = (items.is_null() | items.str.contains(r"^\s*$")).arg_true()
    if len(empty):
        place = f"{file}, {row_place(file, raw['row'][empty[0]])}"
        raise InputError(f"{place}: the {_ITEM} is empty. Fill it in or remove the row.")
    titles = raw[_TITLE].cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars()
    return {item: title for item, title in zip(items, titles, strict=True) if title}
