"""Kill a training with SIGKILL at random moments, resume it each time, and compare its weights with an undisturbed run.

laclrec-tf simulate --out events.csv --users 500 --items 150
laclrec-tf prepare events.csv --out data
python studies/kill_and_resume.py data --out killed --kills 20
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from laclrec_tf.run_folder import RunFolder
from laclrec_tf.training.checkpoints import TrainingCheckpoints

SETTINGS = ["--refit", "--set=width=16", "--set=targets_per_batch=32", "--checkpoint-minutes=0.03"]


def place(out: Path) -> tuple[str, str, int, int] | None:
    """Return part, objective, epoch and step of a run's newest checkpoint."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = TrainingCheckpoints(out / "checkpoints").newest()
    if state is None:
        return None
    return tuple(state.about[name] for name in ("part", "objective", "epoch", "step"))


def main() -> None:
    """Train, kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder made by `laclrec-tf prepare`")
    parser.add_argument("--out", type=Path, required=True, help="folder for both runs")
    parser.add_argument("--preset", default="laclrec")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--kills", type=int, default=20, help="number of kills")
    parser.add_argument("--least", type=float, default=20.0, help="min seconds before a kill")
    parser.add_argument("--most", type=float, default=90.0, help="max seconds before a kill")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    whole, killed = arguments.out / "whole", arguments.out / "killed"
    train = [
        sys.executable,
        "-m",
        "laclrec_tf.cli.main",
        "train",
        arguments.data,
        *SETTINGS,
        "--preset",
        arguments.preset,
    ]
    train += [f"--epochs={arguments.epochs}", f"--set=patience={arguments.epochs}"]
    train += ["--set=pretrain_epochs=2"] if arguments.preset.startswith("laclrec") else []
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    if not (whole / "run.json").exists():
        subprocess.run([*train, "--out", str(whole)], check=True, **quiet)

    kills = 0
    while not (killed / "run.json").exists():
        process = subprocess.Popen([*train, "--out", str(killed), "--resume"], **quiet)
        before, wait = place(killed), draw.uniform(arguments.least, arguments.most)
        try:
            _, error = process.communicate(timeout=wait if kills < arguments.kills else None)
            if process.returncode:
                sys.exit(f"resuming after kill {kills} failed: {error}")
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            print(f"kill {kills} after {wait:.0f} s: from {before} to {place(killed)}", flush=True)
    ours, theirs = (RunFolder.open(run).model.get_weights() for run in (killed, whole))
    same = all(map(np.array_equal, ours, theirs))
    print(f"{time.strftime('%F')}: {kills} kills, weights {'bit-identical' if same else 'DIFFER'}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
