"""The record of a model's pushes, rollbacks and removals: `.pushes.jsonl` beside its versions, one line each.

It lies beside the versions and not in them, so that it outlives them and no manifest changes; its name begins with a
dot, so servers ignore it. A line is on the disk before what it tells of happens. So no version is served without its
line; a process that was killed in between leaves a line of a version that never came, and the next one with this number
has a later line. The last line of a version counts.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RECORD_FILE = ".pushes.jsonl"


def append_record(model: Path, action: str, version: int, **about: Any) -> None:
    """Write one line and wait until it is on the disk.

    Args:
        model: the model's folder.
        action: "push", "rollback" or "remove".
        version: the version that comes, or goes.
        **about: anything that JSON can hold.
    """
    time = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": time, "action": action, "version": version, **about}) + "\n"
    with (model / RECORD_FILE).open("ab+") as file:
        # A line that was cut short by a full disk must not take this one with it.
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_record(model: Path) -> list[dict[str, Any]]:
    """Read the lines, oldest first; those that are damaged are left out.

    Args:
        model: the model's folder.

    Returns:
        `time` (UTC, ISO 8601), `action`, `version` and what else each line tells; none without a file.

    Example:
        >>> read_record(Path("no/such/folder"))
        []
    """
    file = model / RECORD_FILE
    if not file.is_file():
        return []
    entries = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("version"), int):
            entries.append(entry)
    return entries
