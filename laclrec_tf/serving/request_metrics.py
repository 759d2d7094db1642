"""What the server tells of itself while it answers."""

from __future__ import annotations

from typing import Protocol


class Metrics(Protocol):
    """Where the server counts; `ServerMetrics` is one."""

    def observe_request(self, method: str, model: str, code: str, seconds: float) -> None:
        """Count an answered request."""

    def observe_batch(self, model: str, rows: int) -> None:
        """Count a run of a model."""

    def set_in_flight(self, n: int) -> None:
        """Say how many requests are being answered."""

    def set_version_state(self, model: str, version: int, state: str) -> None:
        """Say in which state a version is."""
