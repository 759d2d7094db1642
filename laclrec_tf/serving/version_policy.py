"""Which of the versions in a model's folder are served."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from tensorflow_serving.config.file_system_storage_path_source_pb2 import FileSystemStoragePathSourceConfig

from laclrec_tf.errors import InputError

VersionPolicy: TypeAlias = FileSystemStoragePathSourceConfig.ServableVersionPolicy


def wanted_versions(policy: VersionPolicy, existing: Iterable[int]) -> set[int]:
    """Pick versions as TensorFlow Serving does.

    Args:
        policy: `latest {num_versions: n}`, `all {}` or `specific {versions: ...}`. Nothing chosen: the newest.
        existing: the versions in the model's folder.

    Returns:
        The versions to serve.

    Example:
        >>> sorted(wanted_versions(VersionPolicy(latest={"num_versions": 2}), [1, 2, 3]))
        [2, 3]
        >>> sorted(wanted_versions(VersionPolicy(specific={"versions": [1, 9]}), [1, 2, 3]))
        [1]
    """
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return set(existing)
    if kind == "specific":
        return set(existing) & set(policy.specific.versions)
    return set(sorted(existing)[-(policy.latest.num_versions or 1) :])


def check_policy(model_name: str, policy: VersionPolicy) -> None:
    """Refuse a policy that can pick nothing.

    Args:
        model_name: for the message.
        policy: see `wanted_versions`.

    Raises:
        InputError: `specific` names no version.
    """
    if policy.WhichOneof("policy_choice") == "specific" and not policy.specific.versions:
        raise InputError(f"Model {model_name}: the version policy `specific` must name at least one version.")
