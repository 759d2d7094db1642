"""Machines and accelerators that do not go together cost a line here and not minutes in a queue."""

import pytest
from google.cloud.aiplatform_v1.types import AcceleratorType

from laclrec_tf.errors import InputError
from laclrec_tf.vertex.job import ACCELERATORS, check_machine


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
        ("a2-highgpu-1g", "NVIDIA_TESLA_A100", None),
        ("n1-standard-8", "NVIDIA_TESLA_T4", None),
        ("a2-megagpu-16g", "NVIDIA_TESLA_A100", 16),
        ("a4x-highgpu-4g", "NVIDIA_GB200", 4),
        ("g2-standard-96", "NVIDIA_L4", 8),
        ("g4-standard-384", "NVIDIA_RTX_PRO_6000", 8),
        ("n1-standard-96", "NVIDIA_TESLA_V100", 8),
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
        ("n1-standard-8", "NVIDIA_TESLA_T4", 8, "must be one of 1, 2, 4 for NVIDIA_TESLA_T4. Received: 8"),
        ("n1-standard-8", "NVIDIA_TESLA_V100", 16, "must be one of 1, 2, 4, 8 for NVIDIA_TESLA_V100"),
        ("n1-standard-8", "NVIDIA_TESLA_P100", 8, "must be one of 1, 2, 4 for NVIDIA_TESLA_P100"),
        ("n1-standard-8", "NVIDIA_TESLA_P4", 8, "must be one of 1, 2, 4 for NVIDIA_TESLA_P4"),
        ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 8, "a2-highgpu-1g has 1 accelerator. .*Give --accelerator-count 1, or"),
        ("g2-standard-24", "NVIDIA_L4", 1, "g2-standard-24 has 2 accelerators. Received: --accelerator-count 1"),
        ("g4-standard-48", "NVIDIA_RTX_PRO_6000", 2, "g4-standard-48 has 1 accelerator. "),
        ("a4-highgpu-8g", "NVIDIA_B200", 4, "a4-highgpu-8g has 8 accelerators. "),
        ("a2-megagpu-16g", "NVIDIA_TESLA_A100", None, "has 16 accelerators, and a worker .* such as a2-highgpu-1g"),
        ("g2-standard-48", "NVIDIA_L4", None, "has 4 accelerators, and a worker .* such as g2-standard-12"),
        ("a4-highgpu-8g", "NVIDIA_B200", None, "has 8 .* such as a2-highgpu-1g with NVIDIA_TESLA_A100"),
    ],
)
def test_what_does_not(machine, accelerator, count, says):
    with pytest.raises(InputError, match=says):
        check_machine(machine, accelerator, count)
