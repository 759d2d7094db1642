"""Write a report on a run as one HTML page that needs no other files and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from laclrec_tf.callbacks.augmenter_watch import collapse, likely_cause
from laclrec_tf.data.item_vectors import read_titles
from laclrec_tf.errors import InputError
from laclrec_tf.report.charts import Chart, bar_chart, learning_curves, line_chart, reliability_chart
from laclrec_tf.report.examples import Example, report_examples
from laclrec_tf.report.measure import NOISE_RATES, NOISE_USERS, K, held_out_users, measure_run
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.training.logs import run_epochs

MAX_USERS = 10_000
N_EXAMPLES = 3


def report(
    run: str | Path,
    out: str | Path,
    *,
    data: str | Path | None = None,
    users: int = MAX_USERS,
    seed: int = 0,
    exclude_history: bool | None = None,
    titles: str | Path | None = None,
    title_item_column: str = "item_id",
    title_column: str = "title",
    show_progress: bool = True,
) -> dict[str, Any]:
    """Write an HTML page about a run. It opens in any browser without a network, and can be printed.

    The page has learning curves, metrics by length of the history and by popularity of the next item, how much noise in
    the histories costs, coverage, novelty and diversity of the lists, and good and bad examples. Predictions are mixed
    over the edits of each history as the calibration chose, see `laclrec_tf.layers.EditMixture`. For a run with an
    augmenter it also has the calibration of its probabilities and the items that it deletes and inserts most.

    Args:
        run: Folder made by `laclrec-tf train` or `grow`.
        out: HTML file to write. An existing file is replaced.
        data: Folder of the prepared data, if it was moved. Default: None, the folder that the run was trained on.
        users: Max number of users of the test split to measure, drawn at random. Default: 10,000.
        seed: Seed of users, examples and corrupted histories. Default: 0.
        exclude_history: Whether to measure lists without the items of the history. Default: None, as the run says.
        titles: File of items and their titles, see `read_titles`, which are shown beside the ids. Default: None.
        title_item_column: Name of its column of item ids. Default: "item_id".
        title_column: Name of its column of titles. Default: "title".
        show_progress: Whether to show a spinner on standard error. Default: True.

    Returns:
        The measurements, see `laclrec_tf.report.measure.measure_run`.

    Raises:
        InputError: The run, its data or the titles cannot be read, `out` cannot be written, or `users` is below 1.

    Example:
        >>> report("run", "report.html")["metrics"]["recall@10"]  # doctest: +SKIP
        0.0731
    """
    if users < 1:
        raise InputError(f"Argument `users` must be at least 1. Received: {users}.")
    folder = RunFolder.open(run)
    if data is not None:
        folder = replace(folder, record=folder.record | {"data_folder": str(data)})
    file = ReportFile(out)
    named = {} if titles is None else read_titles(titles, item_column=title_item_column, title_column=title_column)
    epochs = run_epochs(folder.folder)
    with spinner(f"measuring {folder.folder}", disable=not show_progress):
        test_users = held_out_users(folder, max_users=users, k=K, seed=seed, exclude_history=exclude_history)
        found = measure_run(folder, test_users, seed)
        examples = report_examples(folder, test_users, n=N_EXAMPLES, seed=seed)
        page = report_page(folder, found, epochs, examples, named)
    file.write(page.encode())
    return found


def report_page(
    run: RunFolder,
    found: Mapping[str, Any],
    epochs: Mapping[str, Mapping[str, list[float]]],
    examples: Mapping[str, list[Example]],
    titles: Mapping[str, str],
) -> str:
    """Lay out a report.

    Args:
        run: The run.
        found: Result of `measure_run`.
        epochs: Result of `run_epochs`.
        examples: Result of `report_examples`.
        titles: Titles by item id, shown beside the ids.

    Returns:
        A complete HTML document. Names of items and users are escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("laclrec_tf.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"integer": "{:,}".format, "metric": "{:.4f}".format, "share": share}
    environment.filters["named"] = lambda item: f"{titles[item]} \u00b7 {item}" if item in titles else item
    record, preset = run.record, run.record["settings"]["preset"]
    n_recommendable = run.model.n_items - len(run.retired)
    return environment.get_template("report.html").render(
        title=f"{preset}: {run.folder.resolve().name}",
        preset=preset,
        k=K,
        n_recommendable=n_recommendable,
        about=_about(run, found),
        protocol=_protocol(run, found, n_recommendable),
        tiles=_tiles(found),
        warning=_warning(run, found, epochs),
        curves=learning_curves(epochs, record.get("best_epoch")),
        no_curves="is counted" if run.is_counted else "was grown from another run and not trained",
        by_length=found["by_length"],
        length_chart=_bars("Recall by length of the history", "items before the next one", found["by_length"]),
        by_popularity=found["by_popularity"],
        popularity_chart=_bars(
            "Recall by popularity of the next item", "rank of popularity in the training data", found["by_popularity"]
        ),
        noise_chart=_noise_chart(found),
        edits=_edits(run),
        list_rows=_list_rows(found["lists"]),
        augmenter=None if found["augmenter"] is None else _augmenter(found["augmenter"]),
        examples=examples,
        settings=_settings(run),
    )


def share(value: float) -> str:
    """Format a share as a percentage, "-" for NaN.

    Example:
        >>> share(0.1234).split(), share(float("nan"))
        (['12.3', '%'], '-')
    """
    return "-" if value != value else f"{100 * value:.1f}\u00a0%"


def _about(run: RunFolder, found: Mapping[str, Any]) -> str:
    sample = (
        "all users"
        if found["users"] == found["of_users"]
        else f"{found['users']:,} users drawn from {found['of_users']:,}"
    )
    trained = {
        "strict": "trained on everything before the validation item",
        "refit": "trained on everything before the test item",
    }
    counts = run.record.get("data_counts", {})
    size = f"{counts['users']:,} users, {counts['events']:,} events; " if {"users", "events"} <= counts.keys() else ""
    return f"{size}{trained.get(run.record['trained_on'], run.record['trained_on'])}; measured on {sample}."


def _tiles(found: Mapping[str, Any]) -> list[dict[str, str]]:
    metrics, popular, lists = found["metrics"], found["most_popular"], found["lists"]
    return [
        {
            "value": f"{metrics['recall@10']:.4f}",
            "label": f"recall@10 (most popular items: {popular['recall@10']:.4f})",
        },
        {"value": f"{metrics['ndcg@10']:.4f}", "label": f"ndcg@10 (most popular items: {popular['ndcg@10']:.4f})"},
        {"value": f"{metrics['mrr@10']:.4f}", "label": "mrr@10"},
        {"value": f"{metrics['recall@20']:.4f}", "label": "recall@20"},
        {"value": share(lists["coverage"]), "label": "of the catalogue is recommended to at least one user"},
    ]


def _protocol(run: RunFolder, found: Mapping[str, Any], n_recommendable: int) -> str:
    excludes, repeated = found["exclude_history"], found["bought_before"]
    text = (
        f"Test split: each user's test item is ranked over the whole catalogue of {n_recommendable:,} items"
        f"{' without those of the history' if excludes else ''}; ties count against the model."
    )
    if repeated:
        what = "missed, because no list of recommendations contains it" if excludes else "ranked, too"
        text += f" For {share(repeated)} of the users this item is also in the history: it is {what}."
    if excludes != run.exclude_history:
        text += f" The run itself {'excludes' if run.exclude_history else 'recommends'} the items of a history."
    return text


def _warning(run: RunFolder, found: Mapping[str, Any], epochs: Mapping[str, Mapping[str, list[float]]]) -> str | None:
    if found["augmenter"] is None:
        return None
    logged = epochs.get(run.record["trained_on"], {})
    chosen = run.record["best_epoch"] - 1 if run.record["trained_on"] == "strict" else -1
    logs = {name: values[chosen] for name, values in logged.items() if len(values) > chosen}
    settings = run.model.get_config()
    if settings["decision"] == "argmax" and not run.model.is_calibrated:
        logs |= {name: found["augmenter"][name] for name in ("keep_rate", "delete_rate", "insert_rate")}
    # With another decision, training drew its operations, so the most probable ones do not describe its views. Those of
    # a calibrated model follow other rules than training.
    what = collapse(logs)
    return None if what is None else f"The augmenter {what}. {likely_cause(logs, settings)}"


def _bars(title: str, note: str, rows: Sequence[Mapping[str, Any]]) -> Chart:
    columns = ([row[name] for row in rows] for name in ("group", "recall", "recall_error"))
    return Chart(title, note, Markup(bar_chart(title, *columns)))


def _noise_chart(found: Mapping[str, Any]) -> Chart:
    title = "ndcg@10 by share of noise"
    names = {"none": "histories as they are", "uniform": "mixed, uniform weights", "learned": "mixed, learned weights"}
    series = {names[kind]: values for kind, values in found["noise"].items()}
    note = f"test histories of {min(NOISE_USERS, found['users']):,} users, with foreign items planted at random places"
    return Chart(title, note, Markup(line_chart(title, series, rates=NOISE_RATES)))


def _edits(run: RunFolder) -> str:
    if run.is_counted:
        return "A counted model reads histories as they are."
    if "edits" not in run.record:
        return (
            "This run was not calibrated, so it reads histories as they are. A strict training on 500 users or more, "
            "with five events or more each, is calibrated."
        )
    chosen = run.edits_to_use()
    as_it_is = "The calibration found no gain in mixing over the edits of a history, so histories are read as they are."
    mixed = (
        "Predictions are mixed over each history with and without its last two events. The calibration chose "
        f"{chosen} weights; the metrics and lists of this page are of that mixture."
    )
    return as_it_is if chosen == "none" else mixed


def _list_rows(lists: Mapping[str, float]) -> list[dict[str, str]]:
    rows = [
        {
            "name": "coverage",
            "note": "share of the catalogue in at least one list; more users and longer lists increase it",
            "value": share(lists["coverage"]),
            "compared": f"{share(lists['coverage_of_next_items'])}: the next items, one per user",
        },
        {
            "name": "novelty",
            "note": "mean of -log2 of an item's share of the training events; rare items have more bits",
            "value": f"{lists['novelty']:.2f} bits",
            "compared": f"{lists['novelty_of_next_items']:.2f} bits: the next items",
        },
    ]
    if "diversity" not in lists:  # a counted model has no item vectors
        return rows
    return [
        *rows,
        {
            "name": "intra-list diversity",
            "note": "mean of 1 - cosine of the trained item vectors, over the pairs of a list",
            "value": f"{lists['diversity']:.3f}",
            "compared": f"{lists['diversity_at_random']:.3f}: random lists",
        },
    ]


def _augmenter(found: Mapping[str, Any]) -> dict[str, Any]:
    title = "Calibration of the augmenter"
    places = {"": "anywhere", "_last": "last event"}
    series = {
        f"{name} (error {share(each['expected_error'])})": (
            np.array(each["predicted"]),
            np.array(each["observed"]),
            np.array(each["counts"]),
        )
        for name, each in (found["calibration"] | {"delete": found["planted_calibration"]}).items()
    }
    return {
        "habits": (
            "On complete test histories the augmenter keeps "
            f"{share(found['keep_rate'])} of the items, deletes {share(found['delete_rate'])} and inserts missing "
            f"items before {share(found['insert_rate'])}; {share(found['unchanged'])} of the histories are unchanged. "
            f"The mean length changes from {found['length']:.1f} to {found['edited_length']:.1f} items."
        ),
        "calibration": Chart(
            title,
            "Keep and insert: the operation head on test histories that are corrupted as in training. Delete: test "
            "histories with 15 % of planted noise, drawn by popularity; their own noise counts as good. Perfect "
            "calibration is the diagonal: of the operations with probability 70 %, 70 % are correct. Larger dots have "
            "more cases.",
            Markup(reliability_chart(title, series)),
        ),
        "detection": [
            {
                "name": f"{title}, {place}",
                "augmenter": f"{found['detection']['augmenter'][name + suffix]:.3f}",
                "popularity": f"{found['detection']['popularity'][name + suffix]:.3f}",
            }
            for name, title in (("auc", "AUC"), ("precision_at_n", "precision at n"))
            for suffix, place in places.items()
            if name + suffix in found["detection"]["augmenter"]
        ],
        "decided": (
            f"It deletes {share(found['decided']['recall'])} of the planted noise and "
            f"{share(found['decided']['good_lost'])} of the other events."
        ),
        "most_deleted": found["most_deleted"],
        "most_inserted": found["most_inserted"],
    }


def _settings(run: RunFolder) -> list[tuple[str, str]]:
    record = run.record
    settings = {**record["settings"], **record["settings"].get("model", {})}
    settings.pop("model", None)
    shown = {
        "trained on": record["trained_on"],
        "best epoch": record.get("best_epoch"),
        "epochs run": record.get("epochs_run"),
        "diverged": record.get("diverged"),
        "seconds": record.get("seconds"),
        "data": record["data_hash"][:12],
    }
    shown |= record.get("versions", {})
    shown |= {name: value for name, value in settings.items() if value is not None}
    texts = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in shown.items()}
    return [(name, str(value)) for name, value in texts.items() if value is not None]
