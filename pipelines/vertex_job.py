"""A training job of Vertex AI, as its `CustomJobSpec`: what each machine runs, and where results go."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import yaml

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import bucket_of, mounted
from pipelines.vertex_machines import check_machine

# Vertex AI's prebuilt TensorFlow images end at Python 3.10, this package begins at 3.11.
IMAGE = "tensorflow/tensorflow"
# The arguments stand after the shell's command, so that a tuning job can add its own to them.
_COMMAND = 'python3 -m pip install --quiet --no-cache-dir {package} && exec laclrec-tf vertex run "$@"'
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


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
