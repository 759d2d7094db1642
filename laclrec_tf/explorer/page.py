"""The explorer's page: find items, build a history, and see at once what the model makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from nicegui import background_tasks, ui

from laclrec_tf.errors import InputError
from laclrec_tf.explorer.answers import CleanedItem, ExplorerAnswers, HistoryAnswers, ItemSearch, PickedItem
from laclrec_tf.explorer.widgets import HistoryList, ItemRow, button, rename, text
from laclrec_tf.serving.client.answers import Recommendation

STYLE = Path(__file__).with_suffix(".css")
FOUND, SIMILAR = 8, 8
# Colours: what is chosen now -> what a press chooses, the icon and the name.
COLOURS: Mapping[bool | None, tuple[bool | None, str, str]] = {
    None: (False, "brightness_auto", "Colours: as the system. Press for light"),
    False: (True, "light_mode", "Colours: light. Press for dark"),
    True: (None, "dark_mode", "Colours: dark. Press for the system's"),
}


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


class ExplorerPage:
    """One visitor's page.

    Args:
        name: the model's.
        answers: asks the server.
        search: finds items.
        titles: the title of each item that has one.
    """

    history: HistoryList

    def __init__(self, name: str, answers: ExplorerAnswers, search: ItemSearch, titles: Mapping[str, str]) -> None:
        """Build the page."""
        self.answers, self.search, self.titles = answers, search, titles
        self.about_item: str | None = None
        self.asked, self.asked_about, self.searched = 0, 0, 0
        self.adding = asyncio.Lock()
        ui.add_css(STYLE.read_text(encoding="utf-8"))
        ui.query(".nicegui-content").classes("explorer")
        self._header(name)
        with ui.element("main"):
            with ui.element("div").classes("column"):
                self._find_card()
                self._about_card()
            self._history_card()
            self._next_card()
        self.status = text(classes="for-screen-readers").props("role=status")
        self._show_found("", search.find("", FOUND))
        ui.timer(0, self._ask, once=True)

    def _header(self, name: str) -> None:
        items = self.answers.items
        with ui.element("header"):
            text(name, "h1")
            text(f"version {items.version} · {items.vocabulary.n_items:,} items", classes="quiet")
            text(classes="grow")
            colours = ui.dark_mode(None)

            def change() -> None:
                colours.value, *_ = COLOURS[colours.value]
                _, icon.name, label = COLOURS[colours.value]
                rename(switch, label)

            switch = button(COLOURS[None][1], COLOURS[None][2], change)
            icon = cast(ui.icon, switch.default_slot.children[0])
        self.problem = text(tag="p", classes="problem").props("role=alert")
        self.problem.set_visibility(False)

    def _find_card(self) -> None:
        with ui.element("section").classes("card find"):
            text("Find items", "h2")
            self.query = ui.input(placeholder="Id or words of the title", on_change=lambda e: self._find(e.value))
            self.query.props('dense outlined clearable debounce=150 aria-label="Find items" autocomplete=off')
            # The field's own value comes with the key: what was typed last may not have been sent yet.
            self.query.on("keydown.enter", lambda e: self._add_first(e.args), js_handler="(e) => emit(e.target.value)")
            self.found_note = text(tag="p", classes="quiet")
            with ui.element("ul"):
                self.found = [ItemRow(self.titles, self.add, self.about) for _ in range(FOUND)]

    def _about_card(self) -> None:
        with ui.element("section").classes("card about-card") as self.about_card:
            self.about_name = text(tag="h2").props("tabindex=-1")
            self.about_id = text(tag="p", classes="item-id")
            self.about_why = text(tag="p", classes="why").props("aria-live=polite")
            self.similar_title = text("Similar items", "h3")
            with ui.element("ul"):
                self.similar = [ItemRow(self.titles, self.add, self.about) for _ in range(SIMILAR)]
        self.about_card.set_visibility(False)

    def _history_card(self) -> None:
        with ui.element("section").classes("card history-card"):
            with ui.element("div").classes("card-title"):
                text("History", "h2")
                self.clear = ui.element("button").classes("link").on("click", lambda: self.history.clear())
                self.clear.props["type"] = "button"
                with self.clear:
                    text("Clear history")
            self.history_note = text(
                "Press items to put them here, oldest first. Drag them, or use the arrows.", "p", "quiet"
            )
            self.history = HistoryList(self.titles, self._changed, self.about)
        self.clear.set_visibility(False)

    def _next_card(self) -> None:
        with ui.element("section").classes("card next-card"):
            self.next_title = text("Recommended next", "h2")
            with ui.element("div").classes("sides"):
                self.raw = RecommendedSide(
                    self.titles, self.answers.k, self.add, self.about, "From the history as it is"
                )
                self.cleaned = (
                    RecommendedSide(self.titles, self.answers.k, self.add, self.about, "From the cleaned history")
                    if self.answers.has_augmenter
                    else None
                )
            legend = (
                "Items of the history are left out on both sides; inserted ones are not. "
                "▲ and ▼ count the places an item moved."
            )
            text(
                legend if self.cleaned else "This model has no augmenter: it cleans no histories.", "p", "quiet legend"
            )

    async def _find(self, words: str | None) -> str:
        """Show what is found and return the first of it; a search that ends after a newer one began is not shown."""
        words = (words or "").strip()
        self.searched += 1
        number = self.searched
        found = await asyncio.to_thread(self.search.find, words, FOUND)  # meanwhile other visitors are answered
        if number == self.searched:
            self._show_found(words, found)
        return found[0] if found else words

    def _show_found(self, words: str, found: Sequence[str]) -> None:
        for place, row in enumerate(self.found):
            row.show(found[place]) if place < len(found) else row.hide()
        if not found:  # it can be put into the history all the same, to see what the model does then
            self.found[0].show(words, note="unknown", kind="delete")
        total = self.answers.items.vocabulary.n_items
        note = f"The first {len(found)} of {total:,}" if not words else ""
        self.found_note.set_text(note if found else "The model knows no such item.")

    async def _add_first(self, words: str) -> None:
        if words.strip():
            async with self.adding:  # what was typed first comes first in the history
                self.add(await self._find(words))

    def add(self, item: str) -> None:
        """Put an item at the end of the history."""
        self.history.add(item)

    async def about(self, item: str) -> None:
        """Tell of an item: why it is recommended or not, and what is similar."""
        self.about_item = item
        self.about_name.set_text(self.titles.get(item, item))
        self.about_id.set_text(item if item in self.titles else "")
        self.about_card.set_visibility(True)
        await self._show_about()
        self.about_name.run_method("focus")  # on a narrow page the card is out of sight

    async def _show_about(self) -> None:
        item = self.about_item
        if item is None:
            return
        self.asked_about += 1
        number = self.asked_about
        try:
            why = await self.answers.why(self.history.items, item)
            similar = await self.answers.similar(item, SIMILAR)
        except InputError as error:
            if number == self.asked_about:
                self._tell(str(error))
            return
        if number != self.asked_about:
            return
        self.about_why.set_text(why)
        self.similar_title.set_visibility(bool(similar.item_ids))
        for place, row in enumerate(self.similar):
            if place < len(similar.item_ids):
                row.show(similar.item_ids[place], f"{similar.scores[place]:.2f}")
            else:
                row.hide()

    def _changed(self, what: str) -> None:
        self.asked += 1  # at once: an answer to what was asked before is of another history
        background_tasks.create(self._ask(what, self.asked), name="explorer")

    async def _ask(self, what: str = "", number: int = 0) -> None:
        """Ask for the history as it is now; an answer that comes after a newer question is thrown away."""
        history = self.history.items
        self.clear.set_visibility(bool(history))
        self.history_note.set_visibility(not history)
        try:
            answers = await self.answers.of_history(history)
        except InputError as error:
            if number == self.asked:
                self._tell(str(error))
            return
        if number == self.asked:
            self._tell("")
            self._show(answers)
            best = answers.recommended.item_ids[:1]
            first = f"First recommendation: {self.titles.get(best[0], best[0])}." if best else ""
            self.status.set_text(f"{what}. {first}" if what else first)
            await self._show_about()

    def _show(self, answers: HistoryAnswers) -> None:
        self.history.show(answers.picked)
        popular = answers.by_popularity
        self.next_title.set_text("Most popular, for want of a known item" if popular else "Recommended next")
        self.raw.show(answers.picked, answers.recommended, popular)
        if self.cleaned is not None and answers.recommended_cleaned is not None:
            before = answers.recommended.item_ids
            self.cleaned.show(answers.cleaned or (), answers.recommended_cleaned, popular, before)

    def _tell(self, problem: str) -> None:
        self.problem.set_text(problem)
        self.problem.set_visibility(bool(problem))
