"""The explorer's page: find items, build a history, and see at once what the model does with it."""

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
# Colours: the present setting -> the setting after a press, the icon and the button's name.
COLOURS: Mapping[bool | None, tuple[bool | None, str, str]] = {
    None: (False, "brightness_auto", "Colours: system setting. Press for light"),
    False: (True, "light_mode", "Colours: light. Press for dark"),
    True: (None, "dark_mode", "Colours: dark. Press for the system setting"),
}


class RecommendedSide:
    """A history as a row of names, and the items recommended from it.

    Args:
        titles: Titles by item id.
        k: Number of recommended items.
        on_add: Called with an item to add to the history.
        on_about: Called with an item to explain.
        heading: Heading above both; the place of the held-out item is added to it.
    """

    def __init__(
        self,
        titles: Mapping[str, str],
        k: int,
        on_add: Callable[[str], Any],
        on_about: Callable[[str], Any],
        heading: str,
    ) -> None:
        self.titles, self.heading = titles, heading
        with ui.element("div").classes("side") as self.element:
            self.title = text(heading, "h3")
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
        held_out: str = "",
    ) -> None:
        """Show both. `before` has the recommended items of the other side, to count the places that an item moved."""
        self.title.set_text(self.heading + (held_out and f" · held out: {held_out}"))
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
            detail = f"{score:.1%}" if by_popularity else f"{score:.3g}"
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


def _link(words: str, on_click: Callable[[], Any]) -> ui.element:
    """Return a button that looks like a link."""
    made = ui.element("button").classes("link").on("click", on_click)
    made.props["type"] = "button"
    with made:
        text(words)
    return made


class ExplorerPage:
    """One visitor's page.

    Args:
        name: Name of the model.
        answers: Requests answers from the server.
        search: Finds items.
        titles: Titles by item id.
    """

    history: HistoryList
    held_out: str | None = None  # the item that the history goes on with
    held_out_note = ""  # the note beside it
    n_noise = 0  # number of noise events drawn, each with a seed of its own

    def __init__(self, name: str, answers: ExplorerAnswers, search: ItemSearch, titles: Mapping[str, str]) -> None:
        """Build the page."""
        self.answers, self.search, self.titles = answers, search, titles
        self.about_item: str | None = None
        # Numbers of the newest request of each kind: answers to earlier ones are dropped.
        self.answers_number, self.about_number, self.search_number = 0, 0, 0
        self.adding, self.drawing = asyncio.Lock(), asyncio.Lock()
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
        ui.timer(0, self._request, once=True)

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
            # The event carries the field's value, because the last typed letters may not have been sent yet.
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
                with ui.element("div").classes("links"):
                    if self.answers.mixes:
                        self.hold_out = _link("Hold out the newest", self._hold_out)
                        _link("Add noise", self._add_noise)
                    self.clear = _link("Clear history", self._clear)
            self.history_note = text(
                "Press items to add them here, oldest first. Move them by dragging or with the arrows.", "p", "quiet"
            )
            self.history = HistoryList(self.titles, self._changed, self.about)
            if self.answers.mixes:
                with ui.element("p").classes("quiet held-out") as self.held_out_line:
                    self.held_out_name = text()
                    _link("Put back", self._put_back)
        self.clear.set_visibility(False)

    def _next_card(self) -> None:
        with ui.element("section").classes("card next-card"):
            self.next_title = text("Recommended next", "h2")
            with ui.element("div").classes("sides"):
                headings = ["From the history as it is"]
                if self.answers.mixes:
                    headings = ["As it is", "Over its edits"]
                elif self.answers.has_augmenter:
                    headings.append("From the cleaned history")
                self.raw, *other = (
                    RecommendedSide(self.titles, self.answers.k, self.add, self.about, heading) for heading in headings
                )
                self.edited = other[0] if other else None
            legend = "This model has no augmenter, so it cleans no histories."
            left_out = "Items of the history are left out on both sides"
            excludes = self.answers.items.exclude_history
            if self.answers.mixes:
                legend = (
                    "Over its edits: events that may be noise count less. Scores are probabilities. "
                    f"{f'{left_out}. ' if excludes else ''}▲ and ▼ count the places an item moved."
                )
                if self.answers.has_augmenter:
                    legend += (
                        " If the augmenter deletes, the share of delete beside an event is the probability that it is "
                        "noise."
                    )
            elif self.edited:
                legend = "▲ and ▼ count the places an item moved."
                if excludes:
                    legend = f"{left_out}; inserted ones are not. {legend}"
            self.raw_problem = text(tag="p", classes="quiet raw-problem")
            self.raw_problem.set_visibility(False)
            text(legend, "p", "quiet legend")

    async def _find(self, words: str | None) -> str:
        """Search, show the items unless a newer search has started, and return the first item."""
        words = (words or "").strip()
        self.search_number += 1
        number = self.search_number
        found = await asyncio.to_thread(self.search.find, words, FOUND)
        if number == self.search_number:
            self._show_found(words, found)
        return found[0] if found else words

    def _show_found(self, words: str, found: Sequence[str]) -> None:
        for place, row in enumerate(self.found):
            row.show(found[place]) if place < len(found) else row.hide()
        if not found:  # an unknown item can be added as well, to see what the model does with it
            self.found[0].show(words, note="unknown", kind="delete")
        total = self.answers.items.vocabulary.n_items
        note = f"The first {len(found)} of {total:,}" if not words else ""
        self.found_note.set_text(note if found else "The model knows no such item.")

    async def _add_first(self, words: str) -> None:
        if words.strip():
            async with self.adding:  # items come in the order in which they were typed
                self.add(await self._find(words))

    def add(self, item: str) -> None:
        """Put an item at the end of the history."""
        self.history.add(item)

    async def _add_noise(self) -> None:
        """Put an item drawn by popularity at the end of the history."""
        async with self.drawing:  # items typed while the popularity loads are added at once
            try:
                await self.answers.as_it_is.items()
                never = [*self.history.items, *filter(None, [self.held_out])]
                item = await self.answers.as_it_is.draw_noise(never, self.n_noise)
            except InputError as error:
                self._show_problem(str(error))
                return
            self.n_noise += 1
            if item is not None:
                self.history.add(item, note="noise")

    def _hold_out(self) -> None:
        """Take the newest item out of the history, to see its place among the recommendations."""
        if self.history.items and self.held_out is None:
            self.held_out, self.held_out_note = self.history.take_newest()

    def _put_back(self) -> None:
        item, self.held_out = self.held_out, None
        if item is not None:
            self.history.add(item, self.held_out_note)

    def _clear(self) -> None:
        self.held_out = None
        self.history.clear()

    async def about(self, item: str) -> None:
        """Show why an item is recommended or not, and similar items."""
        self.about_item = item
        self.about_name.set_text(self.titles.get(item, item))
        self.about_id.set_text(item if item in self.titles else "")
        self.about_card.set_visibility(True)
        await self._show_about()
        self.about_name.run_method("focus")  # on a narrow page the card may be outside the window

    async def _show_about(self) -> None:
        item = self.about_item
        if item is None:
            return
        self.about_number += 1
        number = self.about_number
        try:
            why = await self.answers.why(self.history.items, item)
            similar = await self.answers.similar(item, SIMILAR)
        except InputError as error:
            if number == self.about_number:
                self._show_problem(str(error))
            return
        if number != self.about_number:
            return
        self.about_why.set_text(why)
        self.similar_title.set_visibility(bool(similar.item_ids))
        for place, row in enumerate(self.similar):
            if place < len(similar.item_ids):
                row.show(similar.item_ids[place], f"{similar.scores[place]:.2f}")
            else:
                row.hide()

    def _changed(self, what: str) -> None:
        self.answers_number += 1  # at once, so that answers for the former history are dropped
        background_tasks.create(self._request(what, self.answers_number), name="explorer")

    async def _request(self, what: str = "", number: int = 0) -> None:
        """Request and show the answers for the present history, and drop them after a newer request."""
        history = self.history.items
        self.clear.set_visibility(bool(history or self.held_out))
        if self.answers.mixes:
            self.hold_out.set_visibility(bool(history) and self.held_out is None)
            self.held_out_line.set_visibility(self.held_out is not None)
            self.held_out_name.set_text(f"Held out: {self.titles.get(self.held_out or '', self.held_out)}")
        self.history_note.set_visibility(not history)
        try:
            answers = await self.answers.of_history(history, self.held_out)
        except InputError as error:
            if number == self.answers_number:
                self._show_problem(str(error))
            return
        if number == self.answers_number:
            self._show_problem("")
            self._show(answers)
            shown = answers.over_edits or answers.recommended
            best = shown.item_ids[:1] if shown else ()
            first = f"First recommendation: {self.titles.get(best[0], best[0])}." if best else ""
            self.status.set_text(f"{what}. {first}" if what else first)
            await self._show_about()

    def _show(self, answers: HistoryAnswers) -> None:
        self.history.show(answers.picked)
        popular = answers.by_popularity
        self.next_title.set_text("Most popular: no item of the history is known" if popular else "Recommended next")
        as_it_is, over_edits = answers.places or ("", "")
        before = None
        if answers.recommended is not None:
            self.raw.show(answers.picked, answers.recommended, popular, held_out=as_it_is)
            before = answers.recommended.item_ids
        self.raw.element.set_visibility(answers.recommended is not None)
        self.raw_problem.set_visibility(bool(answers.problem))
        self.raw_problem.set_text(f"The list from the history as it is cannot be shown. {answers.problem}")
        if self.edited is not None and answers.over_edits is not None:
            self.edited.show(answers.picked, answers.over_edits, popular, before, over_edits)
        elif self.edited is not None and answers.recommended_cleaned is not None:
            self.edited.show(answers.cleaned or (), answers.recommended_cleaned, popular, before)

    def _show_problem(self, problem: str) -> None:
        self.problem.set_text(problem)
        self.problem.set_visibility(bool(problem))
