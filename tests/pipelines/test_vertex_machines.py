"""Machines and accelerators that do not go together cost a line here and not minutes in a queue."""

import pytest
from google.cloud.aiplatform_v1.types import AcceleratorType

from laclrec_tf.errors import InputError
from pipelines.vertex_machines import ACCELERATORS, check_machine


def test_the_accelerators_are_the_apis_own():
    nvidia = {kind.name for kind in AcceleratorType if kind.name.startswith("NVIDIA_")}
    assert set(ACCELERATORS) == nvidia - {"NVIDIA_TESLA_K80"}


@pytest.mark.parametrize(
    ("machine", "accelerator", "count"),
    [
        ("n1-standard-8", None, 1),
        ("e2-standard-4", None, 1),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 4),
        ("g2-standard-12", "NVIDIA_L4", 1),
        ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1),
    ],
)
def test_what_goes_together(machine, accelerator, count):
    check_machine(machine, accelerator, count)


@pytest.mark.parametrize(
    ("machine", "accelerator", "count", "says"),
    [
        ("g2-standard-12", None, 1, "Give --accelerator NVIDIA_L4 too"),
        ("g2-standard-12", "NVIDIA_TESLA_T4", 1, "has NVIDIA_L4"),
        ("n1-standard-8", "NVIDIA_L4", 1, "comes with machine types g2-standard only"),
        ("e2-standard-4", "NVIDIA_TESLA_T4", 1, "goes with n1 machines only"),
        ("g2-standard-12", "nvidia_l4x", 1, "nvidia_l4x is none of Vertex AI's. Did you mean NVIDIA_L4"),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 3, "must be one of 1, 2, 4, 8, 16. Received: 3"),
    ],
)
def test_what_does_not(machine, accelerator, count, says):
    with pytest.raises(InputError, match=says):
        check_machine(machine, accelerator, count)
