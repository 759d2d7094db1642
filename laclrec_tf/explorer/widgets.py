"""Widgets of the explorer's page: text, buttons, rows of items, and the history with the augmenter's decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import events, ui

from laclrec_tf.explorer.answers import OPERATIONS, PickedItem

MEANINGS = {
    "unknown": "unknown to the model, skipped",
    "too old": "older than the model reads",
    "read": "",
}


def text(content: str = "", tag: str = "span", classes: str = "") -> ui.label:
    """Return text in an HTML element.

    Args:
        content: The text; it is never read as markup. Default: none.
        tag: Name of the element. Default: "span".
        classes: CSS classes. Default: none.
    """
    label = ui.label(content)
    label.tag = tag
    return label.classes(classes)


def button(icon: str, name: str, on_click: Callable[[], Any], classes: str = "") -> ui.element:
    """Return a button that shows an icon.

    Args:
        icon: Name of a Material icon.
        name: Name for screen readers, also shown as a tooltip.
        on_click: Called when the button is pressed, by mouse, finger or keyboard.
        classes: CSS classes. Default: none.
    """
    made = ui.element("button").classes(f"icon-button {classes}").on("click", on_click)
    made.props["type"] = "button"
    rename(made, name)
    with made:
        ui.icon(icon).props("aria-hidden=true")
    return made


def rename(element: ui.element, name: str) -> None:
    """Change an element's name for screen readers and its tooltip."""
    if element.props.get("aria-label") != name:
        element.props["aria-label"] = element.props["title"] = name


class ItemName:
    """An item's title and id, or its id alone if it has no title.

    Args:
        titles: Titles by item id.
    """

    def __init__(self, titles: Mapping[str, str]) -> None:
        self.titles = titles
        with ui.element("span").classes("item-name"):
            self.title, self.item_id = text(classes="title"), text(classes="item-id")

    def show(self, item: str) -> None:
        """Show an item."""
        self.title.set_text(self.titles.get(item, item))
        self.item_id.set_text(item if item in self.titles else "")


class ItemRow:
    """A row of a list: pressing it adds its item to the history, and a second button explains the item.

    Args:
        titles: Titles by item id.
        on_add: Called with the item to add.
        on_about: Called with the item to explain.
    """

    def __init__(self, titles: Mapping[str, str], on_add: Callable[[str], Any], on_about: Callable[[str], Any]) -> None:
        self.titles = titles
        self.item = ""
        with ui.element("li").classes("item-row") as self.element:
            self.add = ui.element("button").classes("add").on("click", lambda: on_add(self.item))
            self.add.props["type"] = "button"
            with self.add:
                self.name = ItemName(titles)
                self.note, self.detail = text(classes="note"), text(classes="detail")
            self.about = button("info_outline", "", lambda: on_about(self.item), "about")
        self.hide()

    def show(self, item: str, detail: str = "", note: str = "", kind: str = "", spoken: str = "") -> None:
        """Show an item.

        Args:
            item: Item id.
            detail: Text at the right, e.g. the score. Default: none.
            note: Text before it, e.g. the number of places that the item moved. Default: none.
            kind: CSS class of the note. Default: none.
            spoken: The note for screen readers. Default: the note.
        """
        self.item = item
        self.name.show(item)
        self.detail.set_text(detail)
        self.note.set_text(note)
        self.note.classes(replace=f"note {kind}")
        name = self.titles.get(item, item)
        label = ", ".join(filter(None, (f"Add {name} to the history", detail, spoken or note)))
        if self.add.props.get("aria-label") != label:
            self.add.props["aria-label"] = label
        rename(self.about, f"About {name}")
        self.element.set_visibility(True)

    def hide(self) -> None:
        """Show nothing."""
        self.element.set_visibility(False)


class _Entry:
    """One item of the history on the page."""

    def __init__(self, owner: HistoryList, item: str, note: str = "") -> None:
        self.item, self.note = item, note
        name = owner.titles.get(item, item)
        with ui.element("li").classes("entry") as self.element:
            self.inserted = ui.element("div").classes("inserted-run")
            with ui.element("div").classes("entry-row"):
                ui.icon("drag_indicator").classes("handle").props("aria-hidden=true")
                with ui.element("div").classes("entry-text"):
                    with ui.element("button").classes("name-button").on("click", lambda: owner.on_about(item)) as opens:
                        opens.props["type"] = "button"
                        opens.props["aria-label"] = f"About {name}"
                        ItemName(owner.titles).show(item)
                    with ui.element("div").classes("decision"):
                        self.mark = text(classes="mark")
                        self.bar = ui.element("span").classes("bar").props("aria-hidden=true")
                        with self.bar:
                            self.shares = [ui.element("span").classes(f"share {operation}") for operation in OPERATIONS]
                        self.others = text(classes="others")
                        text(note and f"added as {note}", classes="others")
                with ui.element("div").classes("moves"):
                    self.up = button("arrow_upward", f"Move {name} up", lambda: owner.move(self, -1))
                    self.down = button("arrow_downward", f"Move {name} down", lambda: owner.move(self, 1))
                    self.gone = button("close", f"Remove {name}", lambda: owner.remove(self))
        self.show(PickedItem(item, "read"), owner)

    def show(self, picked: PickedItem, owner: HistoryList) -> None:
        """Show what the model does with the item."""
        self.element.classes(replace=f"entry mark-{picked.mark.replace(' ', '-')}")
        probabilities = dict(zip(OPERATIONS, picked.probabilities or (), strict=False))
        chosen = probabilities.get(picked.mark)
        self.mark.set_text(MEANINGS.get(picked.mark, picked.mark) + (f" {chosen:.0%}" if chosen is not None else ""))
        others = [f"{name} {share:.0%}" for name, share in probabilities.items() if name != picked.mark]
        self.others.set_text(" · ".join(others))
        self.bar.set_visibility(bool(probabilities))
        for share, part in zip(probabilities.values(), self.shares, strict=False):
            part.style(f"width: {share:.1%}")
        self.inserted.clear()
        with self.inserted:
            for item in picked.inserted:
                owner.inserted_item(item)


class HistoryList:
    """The history, oldest item first.

    Args:
        titles: Titles by item id.
        on_change: Called after each change with a sentence for screen readers.
        on_about: Called with an item to explain.
    """

    def __init__(
        self, titles: Mapping[str, str], on_change: Callable[[str], Any], on_about: Callable[[str], Any]
    ) -> None:
        self.titles, self.on_change, self.on_about = titles, on_change, on_about
        self._entries: list[_Entry] = []
        self._list = ui.list().props("tag=ol").classes("history").props('aria-label="History, oldest first"')
        self._list.make_sortable(handle=".handle", ghost_class="ghost", on_end=self._dragged)

    @property
    def items(self) -> list[str]:
        """The item ids, oldest first."""
        return [entry.item for entry in self._entries]

    def add(self, item: str, note: str = "") -> None:
        """Add an item at the end, with a note that stays beside it."""
        with self._list:
            self._entries.append(_Entry(self, item, note))
        self._changed(f"{self._name(item)} added{note and ' as ' + note} at place {len(self._entries)}")

    def take_newest(self) -> tuple[str, str]:
        """Remove the last item, and return it with its note."""
        entry = self._entries.pop()
        entry.element.delete()
        self._changed(f"{self._name(entry.item)} held out")
        return entry.item, entry.note

    def move(self, entry: _Entry, by: int) -> None:
        """Move an item up (-1) or down (1)."""
        place = self._entries.index(entry) + by
        if 0 <= place < len(self._entries):
            self._entries.remove(entry)
            self._entries.insert(place, entry)
            entry.element.move(target_index=place)
            self._changed(f"{self._name(entry.item)} moved to place {place + 1} of {len(self._entries)}")
        # Moving loses the focus. At an end this button is disabled, so the other one gets the focus.
        ends = {0: entry.down, len(self._entries) - 1: entry.up}
        (ends.get(place) or (entry.up if by < 0 else entry.down)).run_method("focus")

    def remove(self, entry: _Entry) -> None:
        """Remove an item."""
        place = self._entries.index(entry)
        self._entries.remove(entry)
        entry.element.delete()
        self._changed(f"{self._name(entry.item)} removed")
        if self._entries:
            self._entries[min(place, len(self._entries) - 1)].gone.run_method("focus")

    def clear(self) -> None:
        """Remove all items."""
        self._entries.clear()
        self._list.clear()
        self._changed("The history is empty")

    def show(self, picked: Sequence[PickedItem]) -> None:
        """Show what the model does with each item."""
        for entry, each in zip(self._entries, picked, strict=True):
            entry.show(each, self)

    def inserted_item(self, item: str) -> None:
        """Show an item that the augmenter inserts before another."""
        name = self.titles.get(item, item)
        with ui.element("button").classes("inserted").on("click", lambda: self.on_about(item)) as opens:
            opens.props["type"] = "button"
            rename(opens, f"About {name}, inserted by the augmenter")
            text(f"+ {name}")

    def _dragged(self, event: events.SortableEventArguments) -> None:
        if event.old_index != event.new_index:
            entry = self._entries.pop(event.old_index)
            self._entries.insert(event.new_index, entry)
            self._changed(f"{self._name(entry.item)} moved to place {event.new_index + 1} of {len(self._entries)}")

    def _changed(self, what: str) -> None:
        for place, entry in enumerate(self._entries):
            entry.up.props["disabled"] = place == 0
            entry.down.props["disabled"] = place == len(self._entries) - 1
        self.on_change(what)

    def _name(self, item: str) -> str:
        return self.titles.get(item, item)
