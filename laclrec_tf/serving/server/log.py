"""The server's log: one line for each event, as text for a terminal or as JSON for a log collector."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal, TextIO

from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["text", "json"]
LOG_FORMATS: tuple[LogFormat, ...] = ("text", "json")
ACCESS_LOGGER = "laclrec_tf.serving.access"
# Statuses that are the server's fault and not the caller's.
SERVER_FAULTS = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE"})

_access = logging.getLogger(ACCESS_LOGGER)


class ServerLogHandler(logging.StreamHandler[TextIO]):
    """The handler that `set_up_log` installs, so that a second call finds and replaces it."""


class JsonLineFormatter(JsonFormatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, and what `extra=` gave."""

    converter = time.gmtime  # type: ignore[assignment] # the type of a bound method, of which it is none
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        """Name the fields."""
        super().__init__(
            ("asctime", "levelname", "name", "message"),
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            json_ensure_ascii=False,
        )


class TextLineFormatter(logging.Formatter):
    """Time of day, level and message; a line break in a message is written as `\\n`, so it cannot fake a line."""

    def __init__(self) -> None:
        """Set the line's shape."""
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Write the line without its traceback."""
        record.message = record.message.replace("\r", "\\r").replace("\n", "\\n")
        return super().formatMessage(record)


def set_up_log(
    stream: TextIO, log_format: LogFormat = "text", level: int = logging.INFO, access: bool | None = None
) -> logging.Handler:
    """Write the log to a stream. A second call replaces what the first one set up.

    The package logs from `level` on, everybody else from WARNING on. Third parties' lines have the same format, so
    with `json` every line is a JSON object.

    Args:
        stream: where the lines go, usually `sys.stderr`.
        log_format: `"text"` or `"json"`.
        level: of the package's own loggers. Default: INFO.
        access: True writes a line for each request, False only for those that failed by the server's fault.
            Default: None, as `level` says.

    Returns:
        The handler, already installed.

    Example:
        >>> import io, json
        >>> stream = io.StringIO()
        >>> handler = set_up_log(stream, "json")
        >>> logging.getLogger("laclrec_tf.serving").info("version loaded", extra={"model": "shop", "version": 3})
        >>> line = json.loads(stream.getvalue())
        >>> line["level"], line["message"], line["version"]
        ('INFO', 'version loaded', 3)
        >>> logging.getLogger().removeHandler(handler)
    """
    handler = ServerLogHandler(stream)
    handler.setFormatter(JsonLineFormatter() if log_format == "json" else TextLineFormatter())
    root = logging.getLogger()
    for installed in list(root.handlers):
        if isinstance(installed, ServerLogHandler):
            root.removeHandler(installed)
    root.addHandler(handler)
    logging.getLogger("laclrec_tf").setLevel(level)
    _access.setLevel({None: logging.NOTSET, True: logging.INFO, False: logging.WARNING}[access])
    return handler


def log_request(
    *,
    method: str,
    model: str,
    code: str,
    milliseconds: float,
    version: int | None = None,
    signature: str | None = None,
    rows: int | None = None,
    error: str | None = None,
) -> None:
    """Write the line of one answered request, at WARNING when the server is to blame and else at INFO.

    Args:
        method: what was asked, such as `Predict`.
        model: the model's name.
        code: the gRPC status's name, such as `OK`.
        milliseconds: how long the answer took.
        version: who answered. Default: nobody did.
        signature: the signature asked for. Default: there is none in this method.
        rows: rows in the request. Default: there are none in this method.
        error: what the caller was told. Default: there was no error.
    """
    level = logging.WARNING if code in SERVER_FAULTS else logging.INFO
    if not _access.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "method": method,
        "model": model,
        "version": version,
        "signature": signature,
        "rows": rows,
        "code": code,
        "milliseconds": round(milliseconds, 3),
        "error": error,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    _access.log(level, "%s", _sentence(given), extra=given)


def _sentence(fields: dict[str, Any]) -> str:
    asked = f"{fields['model']}/{fields['version']}" if "version" in fields else fields["model"]
    words = [fields["method"], asked, fields.get("signature"), fields["code"], f"{fields['milliseconds']:.1f} ms"]
    if "rows" in fields:
        words.append(f"rows={fields['rows']}")
    if "error" in fields:
        words.append(f"- {fields['error']}")
    return " ".join(str(word) for word in words if word)
