"""The server's log: one line for each event, as text for a terminal or as JSON for a log collector."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from pythonjsonlogger.json import JsonFormatter

from laclrec_tf.runtime.terminal import CONTROLS, escape_controls

LogFormat = Literal["text", "json"]
# Statuses that are errors of the server and not of the caller.
SERVER_FAULTS = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE"})
_access = logging.getLogger("laclrec_tf.serving.access")


def set_up_log(
    stream: TextIO, log_format: LogFormat = "text", level: int = logging.INFO, access: bool | None = None
) -> logging.Handler:
    """Write the log to a stream. A second call replaces the first one's handler.

    This package logs from `level` on, other packages from WARNING on. All lines have the same format, so with `json`
    every line is a JSON object.

    Args:
        stream: destination of the lines, usually `sys.stderr`.
        log_format: `"text"` or `"json"`. Default: `"text"`.
        level: level of this package's loggers. Default: INFO.
        access: True writes a line for each request, False only for requests that failed by an error of the server.
            Default: None, the requests at or above `level`.

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


@dataclass
class RequestRecord:
    """One request, as the log and the metrics describe it. The field names are the keys of the log.

    Args:
        method: the method, such as `Predict` or `REST Predict`.
        model: name of the model in the request. Default: "".
        version: version that answered. Default: none.
        signature: name of the signature. Default: the method has none.
        rows: number of rows in the request. Default: not counted.
        code: name of the gRPC status. Default: "OK".
        milliseconds: duration until the answer. Default: 0.
        error: error message for the caller. Default: no error.
    """

    method: str
    model: str = ""
    version: int | None = None
    signature: str | None = None
    rows: int | None = None
    code: str = "OK"
    milliseconds: float = 0.0
    error: str | None = None


def log_request(record: RequestRecord, ready: bool = True) -> None:
    """Write the line of one answered request, at WARNING after an error of the server and else at INFO.

    Args:
        record: the request.
        ready: whether the server reports that it is ready. While it starts or stops, UNAVAILABLE is no error. Default:
            True.
    """
    expected = record.code == "UNAVAILABLE" and not ready
    level = logging.WARNING if record.code in SERVER_FAULTS and not expected else logging.INFO
    if not _access.isEnabledFor(level):
        return
    fields = {name: value for name, value in vars(record).items() if value is not None}
    fields["milliseconds"] = round(record.milliseconds, 3)
    _access.log(level, "%s", _sentence(record), extra=fields)


def _sentence(record: RequestRecord) -> str:
    model = record.model if record.version is None else f"{record.model}/{record.version}"
    words = [record.method, model, record.signature, record.code, f"{record.milliseconds:.1f} ms"]
    if record.rows is not None:
        words.append(f"rows={record.rows}")
    if record.error is not None:
        words.append(f"- {record.error}")
    return " ".join(word for word in words if word)


class ServerLogHandler(logging.StreamHandler[TextIO]):
    """The handler of `set_up_log`: a type of its own, so that a second call finds and replaces it."""


class JsonLineFormatter(JsonFormatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, and the keys of `extra=`."""

    converter = time.gmtime  # type: ignore[assignment] # declared as a method, called as a function
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__(
            ("asctime", "levelname", "name", "message"),
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            json_ensure_ascii=False,
        )

    def format(self, record: logging.LogRecord) -> str:
        """Write the line. JSON itself escapes only the control characters of ASCII."""
        return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", super().format(record))


class TextLineFormatter(logging.Formatter):
    """Time of day, level and message, and the indented lines of a traceback.

    Control characters are escaped. So a caller can neither imitate a line, which starts with a time, nor reach the
    terminal that shows the log.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Write the line without its traceback."""
        record.message = escape_controls(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Write the line, and a traceback below it."""
        record.exc_text = None  # another handler's formatter may have written it
        return super().format(record)

    def formatException(self, ei: Any) -> str:
        """Write a traceback."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        """Write the calls that led to a line."""
        return _indented(stack_info)


def _indented(lines: str) -> str:
    return "\n".join(f"    {escape_controls(line)}" for line in lines.split("\n"))
