"""The server's log lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest

from laclrec_tf.serving.server.log import RequestRecord, log_request, set_up_log


@pytest.fixture
def log() -> Iterator[Callable[..., io.StringIO]]:
    """Set up the log on a stream; afterwards everything is as it was."""
    root, package = logging.getLogger(), logging.getLogger("laclrec_tf")
    before = root.handlers[:], package.level

    def set_up(*args) -> io.StringIO:
        stream = io.StringIO()
        set_up_log(stream, *args)
        return stream

    yield set_up
    root.handlers[:] = before[0]
    package.setLevel(before[1])


def test_a_request_is_one_json_line(log):
    stream = log("json")
    log_request(RequestRecord("Predict", "shöp", version=3, signature="retrieve", rows=8, milliseconds=2.34567))
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert list(fields) == [
        "level", "logger", "message", "method", "model", "version", "signature", "rows", "code", "milliseconds"
    ]  # fmt: skip
    assert (fields["level"], fields["logger"]) == ("INFO", "laclrec_tf.serving.access")
    assert fields["message"] == "Predict shöp/3 retrieve OK 2.3 ms rows=8"
    assert (fields["version"], fields["milliseconds"]) == (3, 2.346)


def test_what_a_request_did_not_have_is_left_out(log):
    stream = log("json")
    log_request(RequestRecord("GetModelStatus", "shop", code="NOT_FOUND", milliseconds=1, error="no such model"))
    fields = json.loads(stream.getvalue())
    assert not {"version", "signature", "rows"} & set(fields)
    assert fields["message"] == "GetModelStatus shop NOT_FOUND 1.0 ms - no such model"


@pytest.mark.parametrize(("code", "level"), [("OK", "INFO"), ("NOT_FOUND", "INFO"), ("INTERNAL", "WARNING")])
def test_the_servers_faults_are_warnings(log, code, level):
    stream = log("json")
    log_request(RequestRecord("Predict", "shop", code=code, milliseconds=1))
    assert json.loads(stream.getvalue())["level"] == level


def test_a_traceback_stays_in_its_line(log):
    stream = log("json")
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError:
        logging.getLogger("laclrec_tf.serving.server.grpc_server").exception("Predict failed")
    (line,) = stream.getvalue().splitlines()
    assert "ZeroDivisionError: a bug" in json.loads(line)["exc_info"]


def test_a_caller_cannot_fake_a_line_of_text(log):
    stream = log("text")
    log_request(RequestRecord("Predict", "shop\n12:00:00 WARNING all is lost", code="NOT_FOUND", milliseconds=1))
    (line,) = stream.getvalue().splitlines()
    assert "INFO Predict shop\\n12:00:00 WARNING all is lost NOT_FOUND" in line


CONTROLS = "\x1b[2J\x9b2J\n\r\x0b\x0c\x1c\x85\u2028\u2029\u202e\x00\x7f"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_request_reaches_no_terminal_and_ends_no_line(log, log_format):
    stream = log(log_format)
    record = RequestRecord("Predict", f"shöp{CONTROLS}", signature=CONTROLS, code="NOT_FOUND", error=f"no {CONTROLS}")
    log_request(record)
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable() and "Predict shöp\\" in line
    if log_format == "json":
        assert json.loads(line)["model"] == record.model


def test_a_message_of_an_exception_imitates_no_line_of_text(log):
    stream = log("text")
    try:
        raise ValueError("bad item\n12:00:00 WARNING all is lost\x1b[2J\u2028")
    except ValueError:
        logging.getLogger("laclrec_tf.serving.server.grpc_server").exception("Predict failed", stack_info=True)
    first, *others = stream.getvalue().splitlines()
    assert first.endswith("ERROR Predict failed")
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    assert "    12:00:00 WARNING all is lost\\x1b[2J\\u2028" in others


def test_others_are_heard_from_warning_on(log):
    stream = log("json")
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.error").warning("odd bytes")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["odd bytes"]


def test_the_second_call_replaces_the_first(log):
    first, second = log("json"), log("text", logging.WARNING)
    log_request(RequestRecord("Predict", "shop", milliseconds=1))
    log_request(RequestRecord("Predict", "shop", code="INTERNAL", milliseconds=1))
    assert first.getvalue() == ""
    (line,) = second.getvalue().splitlines()
    assert line.endswith("WARNING Predict shop INTERNAL 1.0 ms")
