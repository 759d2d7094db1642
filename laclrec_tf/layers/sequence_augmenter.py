"""The learned augmenter: which items of a history are deleted, and which items are inserted before an item."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import KerasTensor, ops

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.layers.reverse_generator import ReverseGenerator, greedy_runs
from laclrec_tf.layers.sequence_encoder import SequenceEncoder
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, apply_edits, kept_insertions
from laclrec_tf.ops.masking import positions_where

DECISIONS = ("argmax", "gumbel", "noise")
# Logit of a forbidden operation.
NEVER = -1e9
# Insertion thresholds of a model that was not calibrated, and of one that inserts nothing.
NOT_CALIBRATED, NO_INSERTION = -1.0, 2.0


def choose_operations(
    logits: KerasTensor, decision: str, temperature: float, seed: keras.random.SeedGenerator
) -> KerasTensor:
    """Choose an operation at every position.

    Args:
        logits: `[B, L, 3]` float32, `NEVER` for a forbidden operation.
        decision: "argmax"; "gumbel" samples from the softmax; "noise" multiplies the logits by uniform noise and takes
            the argmax, as the released code does.
        temperature: Temperature of the softmax that "gumbel" samples from.
        seed: Generator of the random decisions.

    Returns:
        `[B, L]` int32.

    Example:
        >>> logits = ops.array([[[0.1, 0.7, 0.2]]])
        >>> choose_operations(logits, "argmax", 1.0, keras.random.SeedGenerator(0)).numpy().tolist()
        [[1]]
    """
    if decision == "gumbel":
        uniform = keras.random.uniform(ops.shape(logits), minval=1e-7, seed=seed)
        logits = logits / temperature - ops.log(-ops.log(uniform))
    elif decision == "noise":
        allowed = logits > NEVER / 2
        noisy = logits * keras.random.uniform(ops.shape(logits), seed=seed)
        logits = ops.where(allowed, noisy, NEVER)
    return ops.argmax(logits, axis=-1)


class Repair(NamedTuple):
    """The augmenter's outputs for corrupted histories, to compare with their labels.

    `operation_logits` is `[B, M, 3]`. `run_states [T, D]` and `run_targets [T]` have one row for each insertion target,
    EOS included; only INSERT positions are decoded. `run_weights [T]` is 0 for a row that only keeps shapes static,
    else 1. `run_present [T, M + K]` holds the ids that cannot be inserted, because the corrupted history or the run
    holds them already, padded with 0.
    """

    operation_logits: KerasTensor
    run_states: KerasTensor
    run_targets: KerasTensor
    run_weights: KerasTensor
    run_present: KerasTensor


class Deletions(NamedTuple):
    """What replaces the operation head's decision to delete.

    `probabilities [B, L]`; `decided [B, L]` bool, whether the event is deleted.
    """

    probabilities: KerasTensor
    decided: KerasTensor


class Edits(NamedTuple):
    """The augmenter's decisions on a batch of histories, and the edited histories.

    `operations [B, L]`, `probabilities [B, L, 3]`, `insertions [B, L, K]` (the nearest first, ended by EOS),
    `edited [B, M]`.
    """

    operations: KerasTensor
    probabilities: KerasTensor
    insertions: KerasTensor
    edited: KerasTensor


@keras.saving.register_keras_serializable(package="laclrec_tf")
class SequenceAugmenter(keras.layers.Layer):
    """Operation head and reverse generator on top of the shared encoder.

    Args:
        n_items: Catalogue size `N`.
        max_edited_length: Max length `M` of an edited history. Default: 60.
        max_insertions: Max length `K` of an inserted run. Default: 5.
        width: Size `D` of the hidden states. Default: 64.
        n_heads: Number of attention heads of the generator. Default: 2.
        dropout: Dropout rate in the generator. Default: 0.5.
        normalisation: "pre" or "post", see `TransformerBlock`. Default: "post".
        attention: "causal" or "bidirectional": whether an item's operation depends on its past only or on both
            sides. Default: "bidirectional".
        decision: How an operation is chosen, see `choose_operations`. Default: "argmax".
        temperature: Temperature of the softmax that "gumbel" samples from. Default: 1.
        can_delete: Whether items may be deleted. Default: True.
        can_insert: Whether items may be inserted. Default: True.
        seed: Seed of the random decisions. Default: None, a random seed.

    Attributes:
        insertion_threshold: Scalar variable. Where `Deletions` replace the head's, items are inserted before an event
            if the head's probability of INSERT, of INSERT and KEEP together, is above it; -1, as before a calibration,
            for the likelier of the two.

    Raises:
        ValueError: `attention` or `decision` is unknown, or `temperature` is not above 0.

    Example:
        >>> encoder = SequenceEncoder(n_items=20, width=8)
        >>> augmenter = SequenceAugmenter(n_items=20, width=8)
        >>> edits = augmenter.edit(encoder, ops.array([[5, 6, 7, 0]]))
        >>> edits.operations.shape, edits.edited.shape
        (TensorShape([1, 4]), TensorShape([1, 60]))

    Reference: LACLRec (arXiv 2503.20232), the self-supervised sequence augmenter.
    """

    def __init__(
        self,
        n_items: int,
        max_edited_length: int = 60,
        max_insertions: int = 5,
        width: int = 64,
        n_heads: int = 2,
        dropout: float = 0.5,
        normalisation: str = "post",
        attention: str = "bidirectional",
        decision: str = "argmax",
        temperature: float = 1.0,
        can_delete: bool = True,
        can_insert: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if attention not in ("causal", "bidirectional"):
            raise ValueError(
                f"Argument `attention` must be 'causal' or 'bidirectional'. Received: attention={attention!r}."
            )
        if decision not in DECISIONS:
            raise ValueError(
                f"Argument `decision` must be one of {', '.join(DECISIONS)}. Received: decision={decision!r}."
            )
        if temperature <= 0:
            raise ValueError(f"Argument `temperature` must be above 0. Received: temperature={temperature}.")
        self.n_items = n_items
        self.max_edited_length = max_edited_length
        self.max_insertions = max_insertions
        self.width = width
        self.n_heads = n_heads
        self.dropout = dropout
        self.normalisation = normalisation
        self.attention = attention
        self.decision = decision
        self.temperature = temperature
        self.can_delete = can_delete
        self.can_insert = can_insert
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        policy = self.dtype_policy
        self.hidden_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="hidden_norm")
        self.operation_head = keras.layers.Dense(3, dtype=policy, name="operation_head")
        self.generator = ReverseGenerator(
            width, max_insertions, n_heads, dropout, normalisation, dtype=policy, name="reverse_generator"
        )

    @property
    def eos_id(self) -> int:
        """The id that ends a run, `N + 1`."""
        return self.n_items + 1

    def build(self, hidden_shape: tuple[int | None, ...] = (None, None, None)) -> None:
        """Create the weights."""
        self.hidden_norm.build((None, None, self.width))
        self.operation_head.build((None, None, self.width))
        self.generator.build((None, self.width))
        self.insertion_threshold = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(NOT_CALIBRATED),
            dtype="float32",
            trainable=False,
            name="insertion_threshold",
        )
        self.built = True

    def call(self, hidden: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return operation logits `[B, L, 3]` from the encoder's hidden states `[B, L, D]`."""
        logits = self.operation_head(self.hidden_norm(hidden))
        forbidden = [0.0, 0.0 if self.can_delete else NEVER, 0.0 if self.can_insert else NEVER]
        return ops.cast(logits, "float32") + ops.array(forbidden, "float32")

    def encode(self, encoder: SequenceEncoder, item_ids: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return the encoder's hidden states `[B, L, D]` under this augmenter's attention."""
        return encoder(item_ids, causal=self.attention == "causal", training=training)

    def repair(
        self,
        encoder: SequenceEncoder,
        corrupted: KerasTensor,
        operations: KerasTensor,
        insertions: KerasTensor,
        training: bool | None = None,
        max_positions: int | KerasTensor | None = None,
    ) -> Repair:
        """Return the outputs of both heads for corrupted histories. The generator gets the true run so far.

        Args:
            encoder: The shared encoder.
            corrupted: `[B, M]` integer ids.
            operations: `[B, M]` integer labels.
            insertions: `[B, M, K]` integer labels, PAD where nothing is inserted.
            max_positions: Max number of INSERT positions and of insertion targets, for static shapes.
                Default: None, the shapes depend on the labels.

        Returns:
            `Repair`.
        """
        hidden = self.encode(encoder, corrupted, training=training)
        logits = self(hidden, training=training)
        static = max_positions is not None
        inserting = ops.logical_and(corrupted != PAD_ID, operations == INSERT)
        where, real = positions_where(inserting, static, max_positions)
        context = ops.take(ops.reshape(self.hidden_norm(hidden), (-1, self.width)), where, axis=0)  # [P, D]
        runs = ops.take(ops.reshape(insertions, (-1, self.max_insertions)), where, axis=0)  # [P, K]
        states = self.generator(context, encoder.item_embedding(runs[:, :-1]), training=training)  # [P, K, D]
        is_target = ops.logical_and(runs != PAD_ID, real[:, None] > 0)
        wanted, weights = positions_where(is_target, static, max_positions)
        states = ops.take(ops.reshape(states, (-1, self.width)), wanted, axis=0)
        run = ops.take(where, wanted // self.max_insertions)  # the position of each target's run
        step = wanted % self.max_insertions
        in_history = ops.take(corrupted, row_of(run, corrupted), axis=0)  # [T, M]
        in_run = ops.take(runs, wanted // self.max_insertions, axis=0)  # [T, K]
        in_run = ops.where(ops.arange(self.max_insertions, dtype="int32")[None, :] < step[:, None], in_run, PAD_ID)
        present = ops.concatenate([in_history, ops.cast(in_run, corrupted.dtype)], axis=1)
        return Repair(logits, states, ops.take(ops.reshape(runs, (-1,)), wanted), weights, present)

    def edit(
        self,
        encoder: SequenceEncoder,
        history: KerasTensor,
        decision: str | None = None,
        candidates: KerasTensor | None = None,
        static_shapes: bool = False,
        deletions: Deletions | None = None,
        keep_events: bool = False,
    ) -> Edits:
        """Choose an operation for every item, decode the missing runs and apply both. No gradient flows.

        Args:
            encoder: The shared encoder.
            history: `[B, L]` integer ids, right-padded with 0.
            decision: Replaces the constructor's `decision` in this call.
            candidates: `[C]` integer ids that may be inserted; EOS is always one of them. Default: the whole catalogue.
            static_shapes: Whether to decode at every position, so that shapes do not depend on the decisions.
                Default: False.
            deletions: What is deleted. The head then only chooses between KEEP and INSERT, by `insertion_threshold`,
                whatever `decision` is. Default: None, the head chooses among all three.
            keep_events: Whether to insert no item twice, and to leave out insertions where the edited history would be
                too long, see `kept_insertions`. Default: False, as in training: the oldest items are cut off.

        Returns:
            `Edits`.
        """
        hidden = self.encode(encoder, history, training=False)
        logits = self(hidden)
        real = history != PAD_ID
        probabilities = ops.softmax(logits)
        if deletions is None:
            chosen = choose_operations(logits, decision or self.decision, self.temperature, self.seed_generator)
        else:
            chosen, probabilities = self.decide(logits, deletions)
        operations = ops.cast(chosen, history.dtype)
        operations = ops.where(real, operations, ops.zeros_like(operations))
        where, _ = positions_where(ops.logical_and(real, operations == INSERT), static_shapes)
        context = ops.take(ops.reshape(self.hidden_norm(hidden), (-1, self.width)), where, axis=0)  # [P, D]
        # An item of the history is not missing.
        present = ops.take(history, row_of(where, history), axis=0)  # [P, L]
        runs = ops.cast(self.generate(encoder, context, candidates, static_shapes, present), history.dtype)  # [P, K]
        insertions = ops.zeros((ops.size(history), self.max_insertions), history.dtype)
        insertions = ops.scatter_update(insertions, where[:, None], runs)
        insertions = ops.reshape(insertions, (*ops.shape(history), self.max_insertions))
        length = {"eos_id": self.eos_id, "max_length": self.max_edited_length}
        if keep_events:
            insertions = kept_insertions(history, operations, insertions, **length)
            has_item = ops.any(ops.logical_and(insertions != PAD_ID, insertions != self.eos_id), axis=-1)
            operations = ops.where(ops.logical_and(operations == INSERT, ops.logical_not(has_item)), KEEP, operations)
            operations = ops.cast(operations, history.dtype)
        edited = apply_edits(history, operations, insertions, **length)
        return Edits(operations, probabilities, insertions, edited)

    def decide(self, logits: KerasTensor, deletions: Deletions) -> tuple[KerasTensor, KerasTensor]:
        """Choose operations where something else than the head says what is deleted.

        Args:
            logits: `[B, L, 3]` float32 of the operation head.
            deletions: What is deleted.

        Returns:
            `(operations [B, L], probabilities [B, L, 3])`: the head divides what DELETE leaves among KEEP and INSERT.
        """
        insert = ops.sigmoid(logits[..., INSERT] - logits[..., KEEP])
        delete = ops.cast(deletions.probabilities, "float32")
        probabilities = ops.stack([(1 - delete) * (1 - insert), delete, (1 - delete) * insert], axis=-1)
        threshold = ops.convert_to_tensor(self.insertion_threshold)
        inserts = insert > ops.where(threshold < 0, 0.5, threshold)
        return ops.where(deletions.decided, DELETE, ops.where(inserts, INSERT, KEEP)), probabilities

    def generate(
        self,
        encoder: SequenceEncoder,
        context: KerasTensor,
        candidates: KerasTensor | None = None,
        static_shapes: bool = False,
        present: KerasTensor | None = None,
    ) -> KerasTensor:
        """Decode runs `[P, K]` from hidden states `[P, D]`, see `greedy_runs`."""
        return greedy_runs(
            self.generator,
            encoder,
            context,
            length=self.max_insertions,
            eos_id=self.eos_id,
            candidates=candidates,
            static_shapes=static_shapes,
            present=present,
        )

    def compute_output_shape(self, hidden_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `[B, L, 3]`."""
        return (*hidden_shape[:-1], 3)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "n_items": self.n_items,
            "max_edited_length": self.max_edited_length,
            "max_insertions": self.max_insertions,
            "width": self.width,
            "n_heads": self.n_heads,
            "dropout": self.dropout,
            "normalisation": self.normalisation,
            "attention": self.attention,
            "decision": self.decision,
            "temperature": self.temperature,
            "can_delete": self.can_delete,
            "can_insert": self.can_insert,
            "seed": self.seed,
        }


def row_of(position: KerasTensor, history: KerasTensor) -> KerasTensor:
    """Return the row `[P]` of each index `[P]` into the flattened `[B, L]` history."""
    # A number that comes from a shape has the default integer type: int64 where the default float type is float64.
    return position // ops.cast(ops.maximum(ops.shape(history)[1], 1), position.dtype)
