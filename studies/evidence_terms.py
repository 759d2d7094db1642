"""What each number that the learned weights of edits read is worth, on the users that training set aside.

python studies/evidence_terms.py run

The weights are fitted without one number after the other, and judged on users that they were not fitted on. The gain is
that of the mean `log(P(next item) + 0.001)` over reading histories as they are; it needs no training and no test item.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from laclrec_tf.cli.main import run_app
from laclrec_tf.data.splits import set_aside_share
from laclrec_tf.errors import InputError
from laclrec_tf.layers.edit_mixture import COEFFICIENTS
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.training.edit_calibration import cross_validated, read_samples
from laclrec_tf.training.session import MAX_READ_ITEMS, MIN_CALIBRATED

PARTS = {
    "the mean fit": {"after", "noise_level_after"},
    "the best fit": {"after_best", "noise_level_after_best"},
    "popularity": {"log_popularity", "noise_level_log_popularity"},
    "the noise level": {name for name in COEFFICIENTS if name.startswith("noise_level")},
}


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders made by `laclrec-tf train`, strict.")],
    seed: Annotated[int, typer.Option(help="Seed of the planted noise and of the folds.")] = 0,
) -> None:
    """Print a Markdown table with a row for each run and number that is left out."""
    rows = [
        f"| {run.name} | {weights} | {clean:+.4f} | {everything:+.4f} |"
        for run in runs
        for weights, (clean, everything) in evidence_terms(run, seed).items()
    ]
    print("| run | weights | clean histories | all histories |", "| --- | --- | --- | --- |", *rows, sep="\n")


def evidence_terms(run: str | Path, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return the gain on clean histories and on all, by kind of weights.

    Args:
        run: Folder of a strict run.
        seed: Seed of the planted noise and of the folds. Default: 0.
    """
    folder = RunFolder.open(run)
    if "edits" not in folder.record or folder.record["trained_on"] != "strict":
        raise InputError(f"{run} is not a strict run that was calibrated. Train one without --refit.")
    split = folder.data.split()
    counts = folder.data.counts
    users = counts.get("validation_users", counts["users"])
    share = set_aside_share(users, counts["events"], folder.record["settings"]["calibration_share"])
    item_counts = np.bincount(np.concatenate(split.training("strict", share)), minlength=folder.vocabulary.n_items + 1)[
        1:
    ]
    n_read = max(MIN_CALIBRATED, MAX_READ_ITEMS // folder.vocabulary.n_items)
    before, targets = zip(*split.of(split.is_set_aside(share)).pairs("validation")[:n_read], strict=True)
    samples = read_samples(folder.model, before, np.array(targets), item_counts, seed)
    gains = {kind: cross_validated(samples, kind, seed) for kind in ("uniform", "learned")}
    for part, names in PARTS.items():
        kept = [name not in names for name in COEFFICIENTS[1:-1]]
        without = samples._replace(numbers=samples.numbers[..., kept])
        gains[f"learned, without {part}"] = cross_validated(without, "learned", seed)
    return {name: (float(gain[samples.is_clean].mean()), float(gain.mean())) for name, gain in gains.items()}


if __name__ == "__main__":
    run_app(main, "evidence_terms.py")
