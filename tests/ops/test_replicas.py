"""Sums, means and batches over two replicas on two virtual processors, worked by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
import tensorflow as tf

from laclrec_tf.ops.replicas import n_replicas, share_of_mean, sum_over_replicas, whole_batch

# Virtual processors must be made before TensorFlow starts, so two replicas need a process of their own.
SCRIPT = """
    import json
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from laclrec_tf.ops.replicas import n_replicas, share_of_mean, sum_over_replicas, whole_batch

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    # Replica 0 has the rows 1 and 2, replica 1 the row 4.
    parts = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant([[1.0, 2.0], [4.0, 0.0]][context.replica_id_in_sync_group])
    )

    @tf.function
    def step(rows):
        rows = rows[: 2 - tf.distribute.get_replica_context().replica_id_in_sync_group]
        with tf.GradientTape() as tape:
            tape.watch(rows)
            gathered = whole_batch(rows)
            loss = tf.reduce_sum(gathered**2) / n_replicas()
        size = tf.cast(tf.size(rows), tf.float32)
        return {
            "sum": sum_over_replicas(tf.reduce_sum(rows)),
            "share": share_of_mean(tf.reduce_sum(rows), size),
            "nothing": share_of_mean(tf.constant(0.0), tf.constant(0.0)),
            "gathered": gathered,
            "gradient": tape.gradient(loss, rows),
        }

    result = strategy.run(step, args=(parts,))
    both = {name: strategy.experimental_local_results(value) for name, value in result.items()}
    print("RESULT" + json.dumps({name: [value.numpy().tolist() for value in each] for name, each in both.items()}))
"""


@pytest.fixture(scope="module")
def result() -> dict:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, check=False)
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    return json.loads(done.stdout.split("RESULT")[1])


def test_every_replica_gets_the_sum(result):
    assert result["sum"] == [7.0, 7.0]


def test_shares_of_a_mean_add_up_to_the_mean_over_all_rows(result):
    assert result["share"] == pytest.approx([1.0, 4 / 3])  # (1 + 2) / 3 and 4 / 3


def test_the_mean_of_nothing_is_nothing(result):
    assert result["nothing"] == [0.0, 0.0]


def test_every_replica_sees_the_whole_batch(result):
    assert result["gathered"] == [[1.0, 2.0, 4.0]] * 2


def test_gradients_flow_back_to_the_replica_of_their_row(result):
    # Each of the two replicas has half of the loss, and each row's gradient is the sum of both halves.
    assert result["gradient"] == [[2.0, 4.0], [8.0]]


def test_outside_of_a_replica_nothing_changes():
    rows = tf.constant([1.0, 2.0])
    assert n_replicas() == 1
    assert sum_over_replicas(rows) is rows
    assert whole_batch(rows) is rows
    assert float(share_of_mean(tf.constant(3.0), tf.constant(2.0))) == 1.5
    assert float(share_of_mean(tf.constant(0.0), tf.constant(0.0))) == 0.0
