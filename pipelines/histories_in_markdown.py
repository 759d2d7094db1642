"""Histories before and after editing as a Markdown table, for TensorBoard's text panel."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from pipelines.edited_history import EditedHistory, EditedItem

_MARKS = {"keep": "{}", "delete": "*\u2212{}*", "insert": "**+{}**"}
_MEANING_IN_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:])")


def histories_in_markdown(histories: Iterable[EditedHistory]) -> str:
    """Lay histories out as a table of two columns; `-` marks what is deleted, `+` what is inserted.

    Args:
        histories: any number.

    Example:
        >>> item = EditedItem("sku_1", "keep", 0.9)
        >>> print(histories_in_markdown([EditedHistory((item,), (EditedItem("b", "insert"), item))]))
        | before | after |
        | --- | --- |
        | sku\\_1 (90 %) | **+b**<br>sku\\_1 |
    """
    lines = ["| before | after |", "| --- | --- |"]
    for history in histories:
        before = "<br>".join(_text(item, with_probability=True) for item in history.before)
        after = "<br>".join(_text(item) for item in history.after)
        lines.append(f"| {before} | {after} |")
    return "\n".join(lines)


def _text(item: EditedItem, with_probability: bool = False) -> str:
    name = _MEANING_IN_MARKDOWN.sub(r"\\\1", html.escape(" ".join(item.item.split()), quote=False))
    text = _MARKS[item.operation].format(name)
    return f"{text} ({100 * item.probability:.0f} %)" if with_probability and item.probability is not None else text
