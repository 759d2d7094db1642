"""A training job of Vertex AI as its `CustomJobSpec`: what each machine runs, and where the results go."""

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

# The newest of Vertex AI's prebuilt TensorFlow images has Python 3.10; this package needs 3.11.
IMAGE = "tensorflow/tensorflow"
# The script's arguments follow it in the list, so that a tuning job can append its own.
_COMMAND = 'python3 -m pip install --quiet --no-cache-dir {package} && exec laclrec-tf vertex run "$@"'
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class VertexJob:
    """A training job: its machines, its settings and its places in the bucket.

    Args:
        name: name in the console; also the results' folder in the bucket.
        project: Google Cloud project.
        bucket: "gs://BUCKET" or "gs://BUCKET/FOLDER" for the package, the data and the results.
        data: "gs://..." of a folder made by `laclrec-tf prepare`.
        package: "gs://..." of the source distribution.
        settings: flat training settings, see `TrainConfig.of`.
        region: Google Cloud region. Default: "us-central1".
        machine_type: type of each machine. Default: "n1-standard-8".
        accelerator: accelerator of each machine, e.g. "NVIDIA_TESLA_T4". A worker trains on one. Default: None.
        replicas: number of machines that train together. Default: 1.
        spot: use spot machines, which cost less and can be stopped at any time. Default: False.
        service_account: e-mail of the account that the job runs as. Default: Vertex AI's own account.
        tensorboard: "projects/P/locations/R/tensorboards/ID" to stream to; needs `service_account`. Default: None.
        image: container image with TensorFlow. Default: TensorFlow's own image of the version installed here.
        labels: labels of the job. Default: none.

    Raises:
        InputError: an argument is invalid, or two of them do not fit together.
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
                    "Vertex AI streams to TensorBoard only from a job that runs as a service account of yours. "
                    "Also give --service-account."
                )
        check_labels(self.labels)
        for place in (self.bucket, self.data, self.package):
            bucket_of(place)

    @property
    def folder(self) -> str:
        """The results' folder: it gets `model/`, `checkpoints/`, `logs/` and `run/`."""
        return f"{self.bucket.rstrip('/')}/{self.name}"

    def spec(self) -> dict[str, Any]:
        """Return the `CustomJobSpec` in its JSON form."""
        pool: dict[str, Any] = {
            "machineSpec": machine_spec(self.machine_type, self.accelerator, 1),
            "replicaCount": 1,
            "containerSpec": {
                "imageUri": self.image or default_image(self.accelerator),
                "command": ["bash", "-c"],
                "args": [
                    _COMMAND.format(package=shlex.quote(str(mounted(self.package)))),
                    "laclrec-tf",  # $0 of the script
                    self.data,
                    *(f"--set={name}={_as_text(value)}" for name, value in self.settings.items()),
                ],
            },
        }
        # The first pool is the chief, a single machine; the second has all other workers.
        pools = [pool] if self.replicas == 1 else [pool, pool | {"replicaCount": self.replicas - 1}]
        spec: dict[str, Any] = {"workerPoolSpecs": pools, "baseOutputDirectory": {"outputUriPrefix": self.folder}}
        scheduling: dict[str, Any] = {}
        if self.spot:
            scheduling["strategy"] = "SPOT"
        if self.replicas > 1:
            scheduling["restartJobOnWorkerRestart"] = True  # the others cannot continue without the lost one
        if scheduling:
            spec["scheduling"] = scheduling
        if self.service_account:
            spec["serviceAccount"] = self.service_account
        if self.tensorboard:
            spec["tensorboard"] = self.tensorboard
        return spec

    def as_yaml(self) -> str:
        """Return the spec as YAML for `gcloud ai custom-jobs create --config`, below that command as a comment.

        A `CustomJobSpec` has no labels, so the command has them.
        """
        command = [
            *("gcloud", "ai", "custom-jobs", "create", f"--project={self.project}", f"--region={self.region}"),
            *(f"--display-name={self.name}", "--config=FILE"),
        ]
        if self.labels:
            command.append("--labels=" + ",".join(f"{name}={value}" for name, value in self.labels.items()))
        # Without anchors for the two equal pools: they are hard to edit.
        dumper = type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
        text = yaml.dump(self.spec(), Dumper=dumper, sort_keys=False, width=10_000)
        return f"# {shlex.join(command)}\n{text}"


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def default_image(accelerator: str | None) -> str:
    """Return TensorFlow's own image of the version that is installed here."""
    return f"{IMAGE}:{version('tensorflow')}{'-gpu' if accelerator else ''}"


def check_name(name: str) -> None:
    """Refuse a name that cannot be both a display name and a folder in the bucket.

    Raises:
        InputError: the name is empty, too long, or has an invalid character.

    Example:
        >>> check_name("may 2024")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: Argument `name` must have at most 128 letters, digits, '-', '_' and '.', and \
start with a letter or a digit. Received: 'may 2024'.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            "Argument `name` must have at most 128 letters, digits, '-', '_' and '.', and start with a letter or a "
            f"digit. Received: {name!r}."
        )


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that Google Cloud would refuse.

    Raises:
        InputError: a name or a value is too long or has an invalid character.
    """
    for name, value in labels.items():
        if not (_LABEL.fullmatch(name) and _LABEL_VALUE.fullmatch(value)):
            raise InputError(
                "Names and values of labels have at most 63 lower-case letters, digits, '-' and '_', and names start "
                f"with a letter. Received: {name}={value}."
            )


def machine_spec(machine_type: str, accelerator: str | None, count: int) -> dict[str, Any]:
    """Return a `MachineSpec` in its JSON form."""
    attached = {"acceleratorType": accelerator, "acceleratorCount": count} if accelerator else {}
    return {"machineType": machine_type} | attached


# Accelerator by machine family. N1 machines accept those of `ATTACHED`; all other families accept none.
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
# Numbers of them that an N1 machine can have.
ATTACHED = {
    "NVIDIA_TESLA_T4": (1, 2, 4),
    "NVIDIA_TESLA_V100": (1, 2, 4, 8),
    "NVIDIA_TESLA_P100": (1, 2, 4),
    "NVIDIA_TESLA_P4": (1, 2, 4),
}
# The API's `AcceleratorType` without the retired K80 and without TPUs, which TensorFlow's image cannot use.
ACCELERATORS = tuple(dict.fromkeys([*ATTACHED, *BUILT_IN.values()]))
COUNTS = (1, 2, 4, 8, 16)
# Number of accelerators by family and size, for families whose machine types do not name it.
_NUMBERS = {
    "g2-standard": {4: 1, 8: 1, 12: 1, 16: 1, 32: 1, 24: 2, 48: 4, 96: 8},
    "g4-standard": {48: 1, 96: 2, 192: 4, 384: 8},
}
# Machine types with a single accelerator.
_SINGLE = {
    "NVIDIA_TESLA_A100": "a2-highgpu-1g",
    "NVIDIA_A100_80GB": "a2-ultragpu-1g",
    "NVIDIA_H100_80GB": "a3-highgpu-1g",
    "NVIDIA_L4": "g2-standard-12",
    "NVIDIA_RTX_PRO_6000": "g4-standard-48",
}


def check_machine(machine_type: str, accelerator: str | None, count: int | None) -> None:
    """Refuse a machine that Vertex AI would refuse after minutes in its queue.

    Args:
        machine_type: e.g. "n1-standard-8".
        accelerator: e.g. "NVIDIA_TESLA_T4", or None.
        count: number of accelerators of the machine. None means that a worker trains on it, which uses one.

    Raises:
        InputError: the accelerator does not exist, or the machine type does not have it in this number.

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
            raise InputError(f"Machine type {machine_type} has accelerators. Also give --accelerator {built_in}.")
        return
    if accelerator not in ACCELERATORS:
        close = difflib.get_close_matches(accelerator.upper(), ACCELERATORS, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(f"Vertex AI has no --accelerator {accelerator}. {hint}It has {', '.join(ACCELERATORS)}.")
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
        families = " or ".join(name for name, built_in in BUILT_IN.items() if built_in == accelerator)
        raise InputError(f"Only machine types {families} have {accelerator}. Received: --machine-type {machine_type}.")
    if accelerator in ATTACHED and not machine_type.startswith("n1-"):
        raise InputError(
            f"Only n1 machines can have {accelerator}. Received: --machine-type {machine_type}. "
            "Give e.g. n1-standard-8."
        )
    if accelerator in ATTACHED and (count or 1) not in ATTACHED[accelerator]:
        allowed = ", ".join(map(str, ATTACHED[accelerator]))
        raise InputError(f"Argument `accelerator_count` must be one of {allowed} for {accelerator}. Received: {count}.")
    built_in_count = accelerators_of(machine_type)
    if built_in_count is not None and built_in_count != (count or 1):
        number = f"Machine type {machine_type} has {built_in_count} accelerator{'s' * (built_in_count != 1)}"
        if count is None:
            other = _SINGLE.get(accelerator, "a2-highgpu-1g with NVIDIA_TESLA_A100")
            raise InputError(f"{number}, and a worker trains on one. Give a machine type with one, e.g. {other}.")
        raise InputError(
            f"{number}. Received: --accelerator-count {count}. Give --accelerator-count {built_in_count}, or another "
            "machine type."
        )


def accelerators_of(machine_type: str) -> int | None:
    """Return the number of accelerators that a machine type has built in.

    Args:
        machine_type: e.g. "a2-highgpu-8g".

    Returns:
        The number, or None if the type has none built in or is unknown.

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
