"""A training job of Vertex AI, as its `CustomJobSpec`: what each machine runs, and where results go."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import yaml

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import bucket_of, mounted

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
# Vertex AI's prebuilt TensorFlow images end at Python 3.10, this package begins at 3.11.
IMAGE = "tensorflow/tensorflow"
# The arguments stand after the shell's command, so that a tuning job can add its own to them.
_COMMAND = 'python3 -m pip install --quiet --no-cache-dir {package} && exec laclrec-tf vertex run "$@"'
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


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


@dataclass(frozen=True)
class VertexJob:
    """What to run where.

    Args:
        name: shown in the console; also the folder of the results in the bucket.
        project: Google Cloud project.
        bucket: "gs://BUCKET" or "gs://BUCKET/FOLDER" for the package, the data and the results.
        data: "gs://..." of a folder that `laclrec-tf prepare` made.
        package: "gs://..." of the source distribution.
        settings: flat training settings, see `TrainConfig.of`.
        region: Default: "us-central1".
        machine_type: Default: "n1-standard-8".
        accelerator: such as "NVIDIA_TESLA_T4", one a machine: a worker trains on one. Default: None.
        replicas: machines; more than one train together. Default: 1.
        spot: use machines that can be taken away at any time, at a fraction of the price. Default: False.
        service_account: e-mail of the account that the job runs as. Default: None, Vertex AI's own.
        tensorboard: "projects/P/locations/R/tensorboards/ID" to stream to; needs `service_account`. Default: None.
        image: container image with TensorFlow. Default: None, TensorFlow's own of the version installed here.
        labels: Default: none.

    Raises:
        InputError: the arguments do not fit together.
    """

    name: str
    project: str
    bucket: str
    data: str
    package: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    region: str = "us-central1"
    machine_type: str = "n1-standard-8"
    accelerator: str | None = None
    replicas: int = 1
    spot: bool = False
    service_account: str | None = None
    tensorboard: str | None = None
    image: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_machine(self.machine_type, self.accelerator, None)
        if self.replicas < 1:
            raise InputError(f"Argument `replicas` must be at least 1. Received: {self.replicas}.")
        if self.tensorboard is not None:
            if not re.fullmatch(r"projects/[^/]+/locations/[^/]+/tensorboards/[^/]+", self.tensorboard):
                raise InputError(
                    "Argument `tensorboard` must be projects/PROJECT/locations/REGION/tensorboards/ID. "
                    f"Received: {self.tensorboard!r}."
                )
            if self.service_account is None:
                raise InputError(
                    "Vertex AI streams to TensorBoard only from a job with a service account of yours. "
                    "Give --service-account too."
                )
        check_labels(self.labels)
        for place in (self.bucket, self.data, self.package):
            bucket_of(place)

    @property
    def folder(self) -> str:
        """Where the results go: `model/`, `checkpoints/`, `logs/` and `run/` in it."""
        return f"{self.bucket.rstrip('/')}/{self.name}"

    def spec(self) -> dict[str, Any]:
        """Return the `CustomJobSpec` as JSON has it."""
        pool: dict[str, Any] = {
            "machineSpec": {"machineType": self.machine_type},
            "replicaCount": 1,
            "containerSpec": {
                "imageUri": self.image or default_image(self.accelerator),
                "command": ["bash", "-c"],
                "args": [
                    _COMMAND.format(package=shlex.quote(str(mounted(self.package)))),
                    "laclrec-tf",  # the shell's own name
                    self.data,
                    *(f"--set={name}={_as_text(value)}" for name, value in self.settings.items()),
                ],
            },
        }
        if self.accelerator:
            pool["machineSpec"] |= {
                "acceleratorType": self.accelerator,
                "acceleratorCount": 1,
            }
        # The first pool is the chief, one machine; the second all other workers.
        pools = [pool] if self.replicas == 1 else [pool, pool | {"replicaCount": self.replicas - 1}]
        spec: dict[str, Any] = {"workerPoolSpecs": pools, "baseOutputDirectory": {"outputUriPrefix": self.folder}}
        scheduling: dict[str, Any] = {}
        if self.spot:
            scheduling["strategy"] = "SPOT"
        if self.replicas > 1:
            scheduling["restartJobOnWorkerRestart"] = True  # the others cannot go on without the one that is gone
        if scheduling:
            spec["scheduling"] = scheduling
        if self.service_account:
            spec["serviceAccount"] = self.service_account
        if self.tensorboard:
            spec["tensorboard"] = self.tensorboard
        return spec

    def as_yaml(self) -> str:
        """Return the spec as `gcloud ai custom-jobs create --config` reads it, under the command as a comment.

        Labels are no part of a `CustomJobSpec`; they are in the command.
        """
        command = [
            *("gcloud", "ai", "custom-jobs", "create", f"--project={self.project}", f"--region={self.region}"),
            *(f"--display-name={self.name}", "--config=FILE"),
        ]
        if self.labels:
            command.append("--labels=" + ",".join(f"{name}={value}" for name, value in self.labels.items()))
        # Anchors for the two equal pools would be valid YAML, but hard to edit.
        dumper = type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
        text = yaml.dump(self.spec(), Dumper=dumper, sort_keys=False, width=10_000)
        return f"# {shlex.join(command)}\n{text}"


def default_image(accelerator: str | None) -> str:
    """Return TensorFlow's own image of the version that is installed here."""
    return f"{IMAGE}:{version('tensorflow')}{'-gpu' if accelerator else ''}"


def check_name(name: str) -> None:
    """Refuse a name that cannot be shown in the console and be a folder in the bucket.

    Raises:
        InputError: it is empty, too long, or has other characters than it may.

    Example:
        >>> check_name("may 2024")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: Argument `name` takes up to 128 letters, digits, '-', '_' and '.'. Received: \
'may 2024'.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"Argument `name` takes up to 128 letters, digits, '-', '_' and '.'. Received: {name!r}.")


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that Google Cloud would.

    Raises:
        InputError: a name or a value has other characters than it may.
    """
    for name, value in labels.items():
        if not (_LABEL.fullmatch(name) and _LABEL_VALUE.fullmatch(value)):
            raise InputError(
                "Labels take lower-case letters, digits, '-' and '_', 63 at most, a name begins with a letter. "
                f"Received: {name}={value}."
            )


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
