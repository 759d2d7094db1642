"""What the augmenter gives: in training, and when it edits."""

from __future__ import annotations

from typing import NamedTuple

from keras import KerasTensor


class Repair(NamedTuple):
    """What the augmenter says of corrupted histories, to be compared with their labels.

    `operation_logits` is `[B, M, 3]`. `run_states [T, D]` and `run_targets [T]` hold one row for each
    insertion target (EOS included): only INSERT positions are ever decoded. `run_weights [T]` is 0 for a row that
    only keeps the shape static, else 1. `run_present [T, M + K]` holds the ids that are there already, in the corrupted
    history or earlier in the run, and so would not be inserted, padded with 0.
    """

    operation_logits: KerasTensor
    run_states: KerasTensor
    run_targets: KerasTensor
    run_weights: KerasTensor
    run_present: KerasTensor


class Edits(NamedTuple):
    """The augmenter's decisions on a batch of histories, and the histories after them.

    `operations [B, L]`, `probabilities [B, L, 3]`, `insertions [B, L, K]` (nearest first, closed by EOS),
    `edited [B, M]`.
    """

    operations: KerasTensor
    probabilities: KerasTensor
    insertions: KerasTensor
    edited: KerasTensor
