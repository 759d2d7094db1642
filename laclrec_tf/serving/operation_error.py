"""What a failed TensorFlow operation complained about, without the graph's traceback around it."""

from __future__ import annotations

import re

import tensorflow as tf


def operation_reason(error: tf.errors.OpError) -> str:
    """Return an operation's complaint as one line without a full stop.

    Args:
        error: as TensorFlow raises it.

    Example:
        >>> message = "assertion failed: [Input k must be at least 1. Received: k =] [0]\\n\\t [[{{node Assert}}]]"
        >>> operation_reason(tf.errors.InvalidArgumentError(None, None, message))
        'Input k must be at least 1. Received: k = 0'
    """
    assertion = re.search(r"assertion failed: (.*?)\s*\[\[\{\{(?:function_)?node", error.message, re.DOTALL)
    if assertion:
        return one_line(re.sub(r"[\[\]]", "", assertion.group(1)))
    without_trace = re.sub(
        r"Graph execution error:|Detected at node.*?stack traces unavailable>",
        "",
        error.message,
        flags=re.DOTALL,
    )
    return one_line(re.split(r"\[\[\{\{(?:function_)?node", without_trace)[0])


def one_line(text: str) -> str:
    """Return a text on one line, without the full stop at its end.

    Example:
        >>> one_line("No such\\n  file.")
        'No such file'
    """
    return " ".join(text.split()).rstrip(".")
