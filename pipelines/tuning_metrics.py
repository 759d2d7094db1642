"""Report a metric to Vertex AI's hyper-parameter tuning, epoch by epoch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

METRIC = "ndcg_at_10"  # "@" is no character of a metric's name there
DEFAULT_FILE = "/tmp/hypertune/output.metrics"


class TuningMetrics(keras.callbacks.Callback):
    """Write the validation metric after each epoch into the file that Vertex AI reads on a trial's machine.

    The format is cloudml-hypertune's: a JSON object a line, numbers as strings.

    Args:
        monitor: the metric among an epoch's, more is better. Default: "val_ndcg@10".
        environment: variables by name: `CLOUD_ML_HP_METRIC_FILE`, and `CLOUD_ML_TRIAL_ID`. Default: this process's.

    Source: https://github.com/GoogleCloudPlatform/cloudml-hypertune
    """

    def __init__(self, monitor: str = "val_ndcg@10", environment: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self.monitor = monitor
        self.file = Path(environment.get("CLOUD_ML_HP_METRIC_FILE") or DEFAULT_FILE)
        self.trial = environment.get("CLOUD_ML_TRIAL_ID") or "0"
        self.lines: list[str] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch's line; an epoch without validation has none."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            return
        line = {
            "timestamp": time.time(),
            "trial": self.trial,
            METRIC: str(float(value)),
            "global_step": str(epoch + 1),
            "checkpoint_path": "",
        }
        self.lines.append(json.dumps(line, sort_keys=True) + "\n")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: the file is read while this goes on.
        partial = self.file.with_name(f"{self.file.name}.partial-{os.getpid()}")
        partial.write_text("".join(self.lines), encoding="utf-8")
        partial.replace(self.file)


def is_tuning_trial(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether this process is a trial of a tuning job."""
    return bool(environment.get("CLOUD_ML_TRIAL_ID"))
