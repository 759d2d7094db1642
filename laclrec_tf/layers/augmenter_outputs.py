"""What the augmenter gives: in training, and when it edits."""

from __future__ import annotations

from typing import NamedTuple

import keras


class Repair(NamedTuple):
    """What the augmenter says of corrupted histories, to be compared with their labels.

    `operation_logits` is `[B, M, 3]`. `run_states [T, D]` and `run_targets [T]` hold one row for each
    insertion target (EOS included): only INSERT positions are ever decoded. `run_weights [T]` is 0 for a row that
    only keeps the shape static, else 1. `run_present [T, M + K]` holds the ids that are there already, in the corrupted
    history or earlier in the run, and so would not be inserted, padded with 0.
    """

    operation_logits: keras.KerasTensor
    run_states: keras.KerasTensor
    run_targets: keras.KerasTensor
    run_weights: keras.KerasTensor
    run_present: keras.KerasTensor


class Edits(NamedTuple):
    """The augmenter's decisions on a batch of histories, and the histories after them.

    `operations [B, L]`, `probabilities [B, L, 3]`, `insertions [B, L, K]` (nearest first, closed by EOS),
    `edited [B, M]`.
    """

    operations: keras.KerasTensor
    probabilities: keras.KerasTensor
    insertions: keras.KerasTensor
    edited: keras.KerasTensor
