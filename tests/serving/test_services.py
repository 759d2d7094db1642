"""What the services need beside their handlers."""

from __future__ import annotations

import subprocess
import sys

REFLECTED = """
from google.protobuf import descriptor_pool
from laclrec_tf.serving.server.grpc_server import MODEL_SERVICE, PREDICTION_SERVICE
for name in (PREDICTION_SERVICE, MODEL_SERVICE):
    print(descriptor_pool.Default().FindFileContainingSymbol(name).name)
"""


def test_reflection_can_describe_the_services_in_a_process_without_stubs():
    # A process of its own: here other tests have imported the stubs, and with them the descriptors.
    done = subprocess.run([sys.executable, "-c", REFLECTED], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [
        "tensorflow_serving/apis/prediction_service.proto",
        "tensorflow_serving/apis/model_service.proto",
    ], done.stderr
