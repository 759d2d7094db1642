"""Answers and searches that arrive out of order. What a visitor sees and does is tested in test_app.py."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from laclrec_tf.errors import InputError

page = pytest.importorskip("laclrec_tf.explorer.page", reason="NiceGUI is not installed")


@pytest.fixture(autouse=True)
def without_nicegui(monkeypatch):
    """Run tasks in the test's own loop."""
    tasks = SimpleNamespace(create=lambda task, name: asyncio.get_running_loop().create_task(task))
    monkeypatch.setattr(page, "background_tasks", tasks)


class LateAnswers:
    """Answers a request when the test says so."""

    mixes = False

    def __init__(self) -> None:
        self.requests: list[asyncio.Future] = []

    def _request(self) -> asyncio.Future:
        self.requests.append(asyncio.get_running_loop().create_future())
        return self.requests[-1]

    async def of_history(self, history, held_out):
        return await self._request()

    async def why(self, history, item):
        return await self._request()

    async def similar(self, item, k):
        return SimpleNamespace(item_ids=(), scores=())


class Page(page.ExplorerPage):
    """The page without what is seen of it."""

    def __init__(self) -> None:
        self.answers, self.about_item = LateAnswers(), None
        self.answers_number = self.about_number = self.search_number = 0
        self.adding, self.drawing = asyncio.Lock(), asyncio.Lock()
        nothing = SimpleNamespace(set_visibility=lambda _: None, set_text=lambda _: None)
        self.clear = self.history_note = self.status = self.similar_title = nothing
        self.history = SimpleNamespace(items=["tent"])
        self.titles, self.similar, self.shown, self.problems, self.added = {}, [], [], [], []
        self.about_why = SimpleNamespace(set_text=self.shown.append)

    def _show(self, answers):
        self.shown.append(answers.name)

    def _show_found(self, words, found):
        self.shown.append((words, found))

    def _show_problem(self, problem):
        self.problems.append(problem)


def answer(name):
    return SimpleNamespace(name=name, recommended=SimpleNamespace(item_ids=[]), over_edits=None)


async def turns():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("first", [0, 1])
def test_only_the_newest_request_is_answered(first):
    async def visit():
        visited = Page()
        for _ in range(2):
            visited._changed("added tent")
        await turns()
        requests = visited.answers.requests
        for place in (first, 1 - first):
            requests[place].set_result(answer(f"answer {place}"))
            await turns()
        return visited.shown

    assert asyncio.run(visit()) == ["answer 1"]


def test_a_change_just_before_the_answer_is_handled_makes_it_outdated():
    async def visit():
        visited = Page()
        visited._changed("added tent")
        await turns()
        visited.answers.requests[0].set_result(answer("old"))
        visited._changed("added stove")  # before the event loop handles the answer
        await turns()
        visited.answers.requests[1].set_result(answer("new"))
        await turns()
        return visited.shown

    assert asyncio.run(visit()) == ["new"]


def test_an_outdated_requests_error_is_not_shown():
    async def visit():
        visited = Page()
        visited._changed("added tent")
        visited._changed("added stove")
        await turns()
        visited.answers.requests[1].set_result(answer("new"))
        await turns()
        visited.answers.requests[0].set_exception(InputError("too late"))
        await turns()
        return visited.problems

    assert asyncio.run(visit()) == [""]


def test_the_explanation_is_for_the_newest_history():
    async def visit():
        visited = Page()
        visited.about_item = "stove"
        tasks = [asyncio.create_task(visited._show_about()) for _ in range(2)]
        await turns()
        visited.answers.requests[1].set_result("of the newer history")
        await turns()
        visited.answers.requests[0].set_result("of the older history")
        await asyncio.gather(*tasks)
        return visited.shown

    assert asyncio.run(visit()) == ["of the newer history"]


class LateSearch:
    """Finds "tent-1" for "tent" when the test says so, and nothing else, but at once."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def find(self, words, limit):
        if words != "tent":
            return []
        self.begun.set()
        assert self.may_end.wait(timeout=60)
        return ["tent-1"]


def test_a_search_blocks_nothing_and_is_not_shown_after_a_newer_one():
    async def visit():
        visited, visited.search = Page(), LateSearch()
        visited.history.add = visited.added.append
        slow = asyncio.create_task(visited._add_first(" tent "))
        assert await asyncio.to_thread(visited.search.begun.wait, 60)
        await visited._find("boot")
        later = asyncio.create_task(visited._add_first("boots"))  # Enter adds what was typed, found or not
        await asyncio.sleep(0.05)
        assert not slow.done()
        visited.search.may_end.set()
        await asyncio.gather(slow, later)
        await visited._find("tent")
        return visited

    visited = asyncio.run(visit())
    assert visited.shown == [("boot", []), ("boots", []), ("tent", ["tent-1"])]
    assert visited.added == ["tent-1", "boots"]


class ItemsWithNotes:
    """A history without widgets."""

    def __init__(self, *items):
        self.pairs = [(item, "") for item in items]

    @property
    def items(self):
        return [item for item, _ in self.pairs]

    def add(self, item, note=""):
        self.pairs.append((item, note))

    def take_newest(self):
        return self.pairs.pop()


def test_noise_is_drawn_after_the_first_load_and_items_are_added_meanwhile():
    async def visit():
        visited, loaded, never_drawn = Page(), asyncio.Event(), []

        async def draw_noise(never, seed):
            never_drawn.append((list(never), seed))
            return "mug"

        visited.answers.as_it_is = SimpleNamespace(items=loaded.wait, draw_noise=draw_noise)
        visited.history, visited.search = ItemsWithNotes("tent"), SimpleNamespace(find=lambda words, limit: [words])
        drawing = asyncio.create_task(visited._add_noise())
        await turns()
        await visited._add_first("rope")  # it does not wait for the load
        loaded.set()
        await drawing
        return never_drawn, visited.history.pairs

    never_drawn, pairs = asyncio.run(visit())
    assert never_drawn == [(["tent", "rope"], 0)]
    assert pairs == [("tent", ""), ("rope", ""), ("mug", "noise")]


def test_one_item_is_held_out_at_a_time_and_keeps_its_note():
    async def visit():
        visited = Page()
        visited.history = ItemsWithNotes("tent")
        visited.history.add("mug", "noise")
        for _ in range(2):  # the link may be pressed again before it is hidden
            visited._hold_out()
        held_out = visited.held_out, list(visited.history.items)
        visited._put_back()
        return held_out, visited.held_out, visited.history.pairs

    held_out, after, pairs = asyncio.run(visit())
    assert held_out == ("mug", ["tent"])
    assert (after, pairs) == (None, [("tent", ""), ("mug", "noise")])
