"""Which accelerators go with which of Vertex AI's machine types."""

from __future__ import annotations

import difflib
import re

from laclrec_tf.errors import InputError

# Families that bring their accelerator; N1 takes any of the older ones; all other families take none.
BUILT_IN = {
    "a2-highgpu": "NVIDIA_TESLA_A100",
    "a2-megagpu": "NVIDIA_TESLA_A100",
    "a2-ultragpu": "NVIDIA_A100_80GB",
    "a3-highgpu": "NVIDIA_H100_80GB",
    "a3-megagpu": "NVIDIA_H100_MEGA_80GB",
    "a3-ultragpu": "NVIDIA_H200_141GB",
    "a4-highgpu": "NVIDIA_B200",
    "a4x-highgpu": "NVIDIA_GB200",
    "g2-standard": "NVIDIA_L4",
    "g4-standard": "NVIDIA_RTX_PRO_6000",
}
# And how many of them a machine may have.
ATTACHED = {
    "NVIDIA_TESLA_T4": (1, 2, 4),
    "NVIDIA_TESLA_V100": (1, 2, 4, 8),
    "NVIDIA_TESLA_P100": (1, 2, 4),
    "NVIDIA_TESLA_P4": (1, 2, 4),
}
# The API's own `AcceleratorType` without what is retired (K80) and what TensorFlow's image cannot use (TPU).
ACCELERATORS = tuple(dict.fromkeys([*ATTACHED, *BUILT_IN.values()]))
COUNTS = (1, 2, 4, 8, 16)
# Accelerators of the machine types whose names do not say it.
_NUMBERS = {
    "g2-standard": {4: 1, 8: 1, 12: 1, 16: 1, 32: 1, 24: 2, 48: 4, 96: 8},
    "g4-standard": {48: 1, 96: 2, 192: 4, 384: 8},
}
# Machine types with a single one.
_SINGLE = {
    "NVIDIA_TESLA_A100": "a2-highgpu-1g",
    "NVIDIA_A100_80GB": "a2-ultragpu-1g",
    "NVIDIA_H100_80GB": "a3-highgpu-1g",
    "NVIDIA_L4": "g2-standard-12",
    "NVIDIA_RTX_PRO_6000": "g4-standard-48",
}


def check_machine(machine_type: str, accelerator: str | None, count: int | None) -> None:
    """Refuse what Vertex AI would refuse after minutes in its queue.

    Args:
        machine_type: such as "n1-standard-8".
        accelerator: such as "NVIDIA_TESLA_T4", or None.
        count: accelerators a machine. None: one, since a worker trains on one.

    Raises:
        InputError: there is no such accelerator, or the machine cannot have it, has another, or another number.

    Source: https://cloud.google.com/vertex-ai/docs/training/configure-compute

    Example:
        >>> check_machine("g2-standard-12", "NVIDIA_TESLA_T4", 1)
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: Machine type g2-standard-12 has NVIDIA_L4. Received: --accelerator \
NVIDIA_TESLA_T4. Give --accelerator NVIDIA_L4, or an n1 machine.
    """
    family = "-".join(machine_type.split("-")[:2])
    built_in = BUILT_IN.get(family)
    if accelerator is None:
        if built_in:
            raise InputError(f"Machine type {machine_type} has accelerators. Give --accelerator {built_in} too.")
        return
    if accelerator not in ACCELERATORS:
        close = difflib.get_close_matches(accelerator.upper(), ACCELERATORS, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(
            f"--accelerator {accelerator} is none of Vertex AI's. {hint}There are {', '.join(ACCELERATORS)}."
        )
    if count is not None and count not in COUNTS:
        raise InputError(
            f"Argument `accelerator_count` must be one of {', '.join(map(str, COUNTS))}. Received: {count}."
        )
    if built_in and accelerator != built_in:
        raise InputError(
            f"Machine type {machine_type} has {built_in}. Received: --accelerator {accelerator}. "
            f"Give --accelerator {built_in}, or an n1 machine."
        )
    if accelerator in BUILT_IN.values() and not built_in:
        families = " or ".join(name for name, has in BUILT_IN.items() if has == accelerator)
        raise InputError(
            f"{accelerator} comes with machine types {families} only. Received: --machine-type {machine_type}."
        )
    if accelerator in ATTACHED and not machine_type.startswith("n1-"):
        raise InputError(
            f"{accelerator} goes with n1 machines only. Received: --machine-type {machine_type}. "
            "Give n1-standard-8, for one."
        )
    if accelerator in ATTACHED and (count or 1) not in ATTACHED[accelerator]:
        allowed = ", ".join(map(str, ATTACHED[accelerator]))
        raise InputError(f"Argument `accelerator_count` must be one of {allowed} for {accelerator}. Received: {count}.")
    has = accelerators_of(machine_type)
    if has is not None and has != (count or 1):
        number = f"Machine type {machine_type} has {has} accelerator{'s' * (has != 1)}"
        if count is None:
            other = _SINGLE.get(accelerator, "a2-highgpu-1g with NVIDIA_TESLA_A100")
            raise InputError(f"{number}, and a worker trains on one. Give a machine type with one, such as {other}.")
        raise InputError(
            f"{number}. Received: --accelerator-count {count}. Give --accelerator-count {has}, or another machine type."
        )


def accelerators_of(machine_type: str) -> int | None:
    """Return how many accelerators a machine type brings.

    Args:
        machine_type: such as "a2-highgpu-8g".

    Returns:
        The number, or None when it brings none, or is not known.

    Source: https://cloud.google.com/compute/docs/gpus

    Example:
        >>> accelerators_of("a2-highgpu-8g"), accelerators_of("g2-standard-24"), accelerators_of("n1-standard-8")
        (8, 2, None)
    """
    family, _, size = machine_type.rpartition("-")
    if family not in BUILT_IN:
        return None
    if family in _NUMBERS:
        return _NUMBERS[family].get(int(size)) if size.isdecimal() else None
    return int(size[:-1]) if re.fullmatch(r"\d+g", size) else None
