"""What Vertex AI tells a training container by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import reachable


@dataclass(frozen=True)
class VertexTrainingEnvironment:
    """Where results go, as paths below the mounted buckets.

    Args:
        model: `AIP_MODEL_DIR`: what is served later.
        checkpoints: `AIP_CHECKPOINT_DIR`, or None.
        tensorboard: `AIP_TENSORBOARD_LOG_DIR`, or None.

    Source: https://cloud.google.com/vertex-ai/docs/training/code-requirements
    """

    model: Path
    checkpoints: Path | None
    tensorboard: Path | None


def read_training_environment(environment: Mapping[str, str] = os.environ) -> VertexTrainingEnvironment:
    """Read the variables.

    Args:
        environment: the variables by name; empty ones say nothing. Default: this process's.

    Raises:
        InputError: `AIP_MODEL_DIR` is missing, or a bucket is not mounted.

    Example:
        >>> read_training_environment({"AIP_MODEL_DIR": "out/model"}).model
        PosixPath('out/model')
    """
    model = environment.get("AIP_MODEL_DIR")
    if not model:
        raise InputError(
            "AIP_MODEL_DIR is not set. Vertex AI sets it for jobs with a baseOutputDirectory; elsewhere set it to the "
            "folder that the model shall go to."
        )
    checkpoints, tensorboard = (
        reachable(place) if (place := environment.get(name)) else None
        for name in ("AIP_CHECKPOINT_DIR", "AIP_TENSORBOARD_LOG_DIR")
    )
    return VertexTrainingEnvironment(reachable(model), checkpoints, tensorboard)
