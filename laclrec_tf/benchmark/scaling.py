"""Measure how time and memory grow with users, items and history length, and plot them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

from laclrec_tf.benchmark.training import measure
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.output_files import ReportFile, new_folder
from laclrec_tf.runtime.processes import ProcessKilledError, call_in_a_process
from laclrec_tf.runtime.terminal import progress_bar
from laclrec_tf.training.config import TrainConfig

# All lines cross in the middle; each changes one size.
MIDDLE: dict[str, int] = {"users": 4000, "items": 10_000, "length": 20}
LINES: dict[str, tuple[int, ...]] = {
    "users": (1000, 4000, 16_000),
    "items": (1000, 10_000, 100_000),
    "length": (5, 20, 80),
}
# Catalogues for training with sampled negatives.
LARGE_CATALOGUES = (10_000, 1_000_000, 10_000_000)
LABELS = {"users": "users", "items": "items in the catalogue", "length": "items in each history"}


def cost_growth(
    folder: str | Path,
    config: TrainConfig | None = None,
    *,
    lines: dict[str, tuple[int, ...]] | None = None,
    middle: dict[str, int] | None = None,
    show_progress: bool = True,
) -> list[dict[str, Any]]:
    """Measure training on random histories of growing size, and write `growth.json` and `growth.png`.

    Each point is measured in its own process, so that its peak memory is its own. `growth.json` is written after each
    point.

    Args:
        folder: Folder to write to; missing or empty.
        config: Settings of the training. Default: `TrainConfig()`.
        lines: Sizes to measure for "users", "items" and "length". Default: `LINES`, with up to ten million items if the
            settings have `n_negatives`.
        middle: The other two sizes of each point. Default: `MIDDLE`.
        show_progress: Whether to show a progress bar on standard error. Default: True.

    Returns:
        One record per point: `changed`, `users`, `items`, `length`, `seconds_per_epoch`, `peak_memory_gb` and the
        other results of `laclrec_tf.benchmark.training.measure`.

    Raises:
        InputError: The folder is not empty or cannot be made, or the process of a point was killed.

    Example:
        >>> records = cost_growth("growth")  # doctest: +SKIP
    """
    config = config or TrainConfig()
    folder = Path(folder)
    others = middle or MIDDLE
    changes = lines or (LINES | {"items": LARGE_CATALOGUES} if config.model.get("n_negatives") else LINES)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} exists already and is not overwritten. Give another folder.")
    points = [(changed, others | {changed: value}) for changed, values in changes.items() for value in values]
    records: list[dict[str, Any]] = []
    measured: dict[tuple[int, ...], dict[str, Any]] = {}
    with (
        new_folder(folder, lambda folder: (folder / "growth.json").exists()),
        progress_bar(disable=not show_progress) as progress,
    ):
        table, plot = ReportFile(folder / "growth.json"), ReportFile(folder / "growth.png")
        task = progress.add_task("Growth", total=len(points))
        for changed, sizes in points:
            key = tuple(sizes.values())
            if key not in measured:  # the lines cross in the middle
                try:
                    measured[key] = call_in_a_process(_measure, sizes, config)
                except ProcessKilledError:
                    point = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
                    raise InputError(
                        f"The process that measured {point} was killed, most likely for lack of memory. "
                        "Free memory, or make the model smaller, e.g. with --set width=32."
                        + (f" {table.file} holds the earlier points." if records else "")
                    ) from None
            records.append({"changed": changed, **sizes, **measured[key]})
            table.write_json(records)
            progress.update(task, advance=1)
        plot.write(_plot(records, config.preset))
    return records


def _measure(sizes: dict[str, int], config: TrainConfig) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    drawn = generator.integers(1, sizes["items"] + 1, (sizes["users"], sizes["length"] + 1), np.int32)
    report = measure(
        list(drawn), sizes["items"], sizes["length"] + 2, config, epochs=1, parts=False, show_progress=False
    )
    return {name: value for name, value in report.items() if name not in sizes}


def _plot(records: list[dict[str, Any]], preset: str) -> bytes:
    """Draw one panel for each size that was changed, as PNG."""
    names = list(dict.fromkeys(record["changed"] for record in records))
    figure, axes = plt.subplots(1, len(names), figsize=(3.6 * len(names), 3.2), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names, strict=True):
        line = [record for record in records if record["changed"] == name]
        sizes = [record[name] for record in line]
        memory = axis.twinx()
        (seconds_line,) = axis.plot(sizes, [record["seconds_per_epoch"] for record in line], "o-", color="tab:blue")
        (memory_line,) = memory.plot(sizes, [record["peak_memory_gb"] for record in line], "s--", color="tab:orange")
        axis.set(xscale="log", yscale="log", xlabel=LABELS[name])
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
        axis.set_ylabel("seconds per epoch", color="tab:blue")
        memory.set_ylabel("peak memory, GB", color="tab:orange")
        memory.set_ylim(bottom=0)
        axis.legend([seconds_line, memory_line], ["time", "memory"], loc="upper left", frameon=False)
    figure.suptitle(f"Training {preset}: cost against size")
    image = io.BytesIO()
    figure.savefig(image, dpi=80)
    plt.close(figure)
    return image.getvalue()
