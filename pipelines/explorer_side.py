"""One side of the explorer's comparison: a history and what is recommended from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from laclrec_tf.serving.client.answers import Recommendation
from pipelines.explorer_answers import CleanedItem, PickedItem
from pipelines.explorer_parts import ItemRow, text


class RecommendedSide:
    """A history as a row of names, and the items recommended from it.

    Args:
        titles: the title of each item that has one.
        k: how many items are recommended.
        on_add: called with an item that is pressed.
        on_about: called with an item that is asked about.
        heading: above them.
    """

    def __init__(
        self,
        titles: Mapping[str, str],
        k: int,
        on_add: Callable[[str], Any],
        on_about: Callable[[str], Any],
        heading: str,
    ) -> None:
        self.titles = titles
        with ui.element("div").classes("side"):
            text(heading, "h3")
            self.history = ui.element("p").classes("steps")
            with ui.element("ol") as items:
                self.rows = [ItemRow(titles, on_add, on_about) for _ in range(k)]
            items.props["aria-label"] = heading

    def show(
        self,
        history: Sequence[PickedItem | CleanedItem],
        recommended: Recommendation,
        by_popularity: bool,
        before: Sequence[str] | None = None,
    ) -> None:
        """Show them; `before`, of the other side, tells how far each item moved."""
        self.history.clear()
        with self.history:
            for each in history:
                kind = each.mark.replace(" ", "-") if isinstance(each, PickedItem) else "kept"
                if isinstance(each, CleanedItem) and each.inserted:
                    kind = "inserted"
                step = text(self.titles.get(each.item, each.item), classes=f"step {kind}")
                step.props["title"] = {"kept": each.item}.get(kind, f"{each.item}: {kind}")
            if not history:
                text("empty", classes="quiet")
        for place, row in enumerate(self.rows):
            if place >= len(recommended.item_ids):
                row.hide()
                continue
            item, score = recommended.item_ids[place], recommended.scores[place]
            detail = f"{score:.1%}" if by_popularity else f"{score:.2f}"
            row.show(item, detail, *_moved(item, place, before))


def _moved(item: str, place: int, before: Sequence[str] | None) -> tuple[str, str, str]:
    if before is None or item in before[place : place + 1]:
        return "", "", ""
    if item not in before:
        return "new", "insert", "new"
    places = before.index(item) - place
    plural = "s" if abs(places) > 1 else ""
    if places > 0:
        return f"▲{places}", "keep", f"{places} place{plural} up"
    return f"▼{-places}", "delete", f"{-places} place{plural} down"
