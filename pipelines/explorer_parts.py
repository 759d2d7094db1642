"""The explorer's building blocks: text, buttons and rows of items, updated in place so that the focus stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui


def text(content: str = "", tag: str = "span", classes: str = "") -> ui.label:
    """Return text in an HTML element.

    Args:
        content: the text; nothing in it is markup.
        tag: the element's name. Default: "span".
        classes: CSS classes. Default: none.
    """
    label = ui.label(content)
    label.tag = tag
    return label.classes(classes)


def button(icon: str, name: str, on_click: Callable[[], Any], classes: str = "") -> ui.element:
    """Return a button that shows an icon.

    Args:
        icon: a Material icon's name.
        name: what screen readers call it; also its tooltip.
        on_click: called when it is pressed, by mouse, finger or keyboard.
        classes: CSS classes. Default: none.
    """
    made = ui.element("button").classes(f"icon-button {classes}").on("click", on_click)
    made.props["type"] = "button"
    rename(made, name)
    with made:
        ui.icon(icon).props("aria-hidden=true")
    return made


def rename(element: ui.element, name: str) -> None:
    """Give an element another name for screen readers and its tooltip."""
    if element.props.get("aria-label") != name:
        element.props["aria-label"] = element.props["title"] = name


class ItemName:
    """An item's title, and its id if it has a title, inside whatever element is open.

    Args:
        titles: the title of each item that has one.
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
    """A row of a list: pressing it adds its item to the history, a second button tells of the item.

    Args:
        titles: the title of each item that has one.
        on_add: called with the item.
        on_about: called with the item.
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

    def show(self, item: str, detail: str = "", note: str = "", kind: str = "", told: str = "") -> None:
        """Show an item.

        Args:
            item: its id.
            detail: such as its score. Default: nothing.
            note: such as how many places it moved. Default: nothing.
            kind: CSS class of the note. Default: none.
            told: the note as screen readers say it. Default: as it is shown.
        """
        self.item = item
        self.name.show(item)
        self.detail.set_text(detail)
        self.note.set_text(note)
        self.note.classes(replace=f"note {kind}")
        name = self.titles.get(item, item)
        spoken = ", ".join(filter(None, (f"Add {name} to the history", detail, told or note)))
        if self.add.props.get("aria-label") != spoken:
            self.add.props["aria-label"] = spoken
        rename(self.about, f"About {name}")
        self.element.set_visibility(True)

    def hide(self) -> None:
        """Show nothing."""
        self.element.set_visibility(False)
