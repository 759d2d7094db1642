"""The explorer in a real browser, and the command's mistakes."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.serving import ModelServer, RetrievalClient
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.version.metadata import ServedItems

pytestmark = pytest.mark.usefixtures("quick_loads")

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run"]
DESKTOP, PHONE = {"width": 1280, "height": 1200}, {"width": 390, "height": 844}


@contextmanager
def explorer(*arguments: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the command as a user does, and return the page's address."""
    command = [
        sys.executable,
        "-m",
        "laclrec_tf.cli.main",
        "explore",
        *map(str, arguments),
        "--port",
        "0",
        "--no-browser",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("exploring shop on http://127.0.0.1:"), line + process.stderr.read()
        yield line.split()[3].rstrip(";"), process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def titles(laclrec_export: Path) -> dict[str, str]:
    """Return a title for each item of the model but the last ten: "Item 1 of tent-07"."""
    items = ServedItems.read(laclrec_export).vocabulary.items[:-10]
    return {item: f"Item {place} of {item}" for place, item in enumerate(items, start=1)}


@pytest.fixture(scope="module")
def server(laclrec_export: Path) -> Iterator[ModelServer]:
    """Return a running server of the model."""
    with ModelServer("shop", laclrec_export, port=0) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: ModelServer) -> Iterator[RetrievalClient]:
    """Return a client of the server, for the answers that the page must show."""
    with RetrievalClient(f"127.0.0.1:{server.port}", "shop", timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def url(
    server: ModelServer, laclrec_export: Path, titles: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return the address of a page that uses the server above."""
    file = tmp_path_factory.mktemp("titles") / "titles.csv"
    file.write_text("item_id,title\n" + "".join(f"{item},{title}\n" for item, title in titles.items()))
    target = f"127.0.0.1:{server.port}"
    with explorer("--model", laclrec_export, "--titles", file, "--server", target) as (url, process):
        yield url
        end(process, signal.SIGTERM)


def end(process: subprocess.Popen[str], number: int) -> None:
    """Stop the command, which must have written no exception."""
    process.send_signal(number)
    assert process.wait(timeout=60) == 0
    assert process.stderr is not None and process.stderr.read() == ""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium, so the explorer's page is not tested: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Return a function that opens a page. The pages must send no request to another machine and raise no error."""
    contexts, addresses, errors = [], [], []

    def open_(url: str, viewport: dict[str, int] = DESKTOP, **settings: Any) -> Any:
        contexts.append(browser.new_context(viewport=viewport, **settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: addresses.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.locator(".side .title:visible").first.wait_for()
        return page

    yield open_
    for context in contexts:
        context.close()
    assert errors == []
    assert {urlsplit(address).hostname for address in addresses if not address.startswith("data:")} == {"127.0.0.1"}


def find(page: Any, words: str, first: str) -> None:
    """Type into the search field and wait until an item comes first."""
    page.get_by_label("Find items").fill(words)
    page.locator(".find .item-row .title", has_text=first).first.wait_for()


def add(page: Any, words: str, title: str) -> None:
    """Search an item and press it."""
    before = page.locator(".entry").count()
    find(page, words, title)
    page.locator(".find .add").first.click()
    page.locator(".entry").nth(before).wait_for()


def spoken(page: Any, words: str) -> None:
    """Wait for a sentence for screen readers; it comes with the answers."""
    page.get_by_role("status").filter(has_text=words).wait_for(state="attached")


def shown(page: Any, place: str) -> list[str]:
    """Return the titles in a part of the page."""
    return page.locator(f"{place} .title:visible").all_inner_texts()


def test_type_click_and_drag(open_page, url, client, titles):
    from playwright.sync_api import expect

    page = open_page(url)
    expect(page.get_by_role("button", name="Add noise")).to_have_count(0)  # this model does not mix over edits
    expect(page.locator(".side h3")).to_have_text(["From the history as it is", "From the cleaned history"])
    items = list(titles)[:3]
    recommended = lambda history: [  # noqa: E731
        titles.get(item, item) for item in client.recommend([history], exclude=history)[0].item_ids
    ]
    seen = [shown(page, ".side >> nth=0 >>")]
    assert seen[0] == recommended([])

    for place, item in enumerate(items, start=1):
        add(page, f"{place} {item.upper()}", titles[item])
        spoken(page, f"{titles[item]} added at place {place}.")
        seen.append(shown(page, ".side >> nth=0 >>"))
        assert seen[-1] == recommended(items[:place])
    assert shown(page, ".entry-row") == [titles[item] for item in items]
    (augmented,) = client.augment(items)
    for place, (operation, shares) in enumerate(zip(augmented.operations, augmented.probabilities, strict=True)):
        share = dict(zip(("keep", "delete", "insert"), shares, strict=True))[operation]
        expect(page.locator(".decision .mark").nth(place)).to_have_text(f"{operation} {share:.0%}")
    expect(page.locator(".side").nth(1).locator(".step")).to_have_text(
        [titles.get(item, item) for item in augmented.edited_history]
    )

    page.locator(".handle").nth(2).hover()
    page.mouse.down()
    target = page.locator(".entry-row").nth(0).bounding_box()
    for step in range(100):  # moves are ignored while the rows glide apart
        page.mouse.move(target["x"] + 20, target["y"] + 4 + step % 2)
        if shown(page, ".entry-row")[0] == titles[items[2]]:
            break
        page.wait_for_timeout(50)
    page.mouse.up()
    spoken(page, f"{titles[items[2]]} moved to place 1 of 3.")
    dragged = [items[2], items[0], items[1]]
    assert shown(page, ".entry-row") == [titles[item] for item in dragged]
    assert shown(page, ".side >> nth=0 >>") == recommended(dragged) != seen[-1]

    best = recommended(dragged)[0]
    page.locator(".side .add").first.click()
    spoken(page, f"{best} added at place 4.")
    assert shown(page, ".entry-row")[-1] == best


def test_keyboard_alone(open_page, url, titles):
    from playwright.sync_api import expect

    page = open_page(url)
    first, second, third = list(titles.values())[:3]
    for place, title in enumerate((first, second, third), start=1):
        page.get_by_label("Find items").fill(title)
        page.keyboard.press("Enter")
        spoken(page, f"{title} added at place {place}.")
    page.get_by_label(f"Move {first} down").focus()
    page.keyboard.press("Enter")
    spoken(page, f"{first} moved to place 2 of 3.")
    expect(page.get_by_label(f"Move {first} down")).to_be_focused()
    page.keyboard.press("Enter")
    spoken(page, f"{first} moved to place 3 of 3.")
    assert shown(page, ".entry-row") == [second, third, first]
    expect(page.get_by_label(f"Move {first} up")).to_be_focused()  # an item at the end cannot move down
    page.keyboard.press("Tab")
    expect(page.get_by_label(f"Remove {first}")).to_be_focused()
    page.keyboard.press("Space")
    spoken(page, f"{first} removed.")
    expect(page.get_by_label(f"Remove {third}")).to_be_focused()
    page.get_by_role("button", name="Clear history").click()
    spoken(page, "The history is empty.")
    assert shown(page, ".entry-row") == []


def test_phone_in_the_dark(open_page, url, titles):
    page = open_page(url, PHONE, color_scheme="dark", has_touch=True)
    items = list(titles.values())[:2]
    for title in items:
        add(page, title, title)
    page.get_by_label(f"Move {items[1]} up").tap()
    spoken(page, f"{items[1]} moved to place 1 of 2.")
    assert shown(page, ".entry-row") == items[::-1]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    lightness = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).every(c => c > 128)"
    assert page.evaluate(lightness) is False
    page.get_by_label("Colours: system setting").tap()
    page.get_by_label("Colours: light").wait_for()
    page.wait_for_function(lightness)


def test_an_item_pressed_while_a_search_ends_is_added(open_page, url, titles):
    page = open_page(url)
    title = next(iter(titles.values()))  # the first row before and after the search
    row = page.locator(".find .add").first.bounding_box()
    page.mouse.move(row["x"] + row["width"] / 2, row["y"] + row["height"] / 2)
    page.mouse.down()
    page.get_by_label("Find items").fill(title)
    page.locator(".find .item-row:visible").nth(1).wait_for(state="hidden")
    page.mouse.up()
    spoken(page, f"{title} added at place 1.")
    assert shown(page, ".entry-row") == [title]


def test_why_not_and_similar_items(open_page, url, client, titles):
    from playwright.sync_api import expect

    page = open_page(url)
    item, title = next(iter(titles.items()))
    why = page.locator(".why")
    add(page, "no <b>such</b> item", "no <b>such</b> item")
    spoken(page, "no <b>such</b> item added at place 1.")
    expect(page.locator(".decision .mark")).to_have_text("unknown to the model, skipped")
    expect(page.locator(".next-card h2")).to_have_text("Most popular: no item of the history is known")
    page.get_by_label("About no <b>such</b> item").first.click()
    expect(why).to_contain_text("Not recommended: unknown.")
    find(page, title, title)
    page.locator(".find .about").first.click()
    expect(why).to_contain_text("place")
    expect(page.locator(".about-card h2")).to_be_focused()
    (similar,) = client.similar_items([item], k=8)
    expect(page.locator(".about-card .item-row .title:visible")).to_have_text(
        [titles.get(each, each) for each in similar.item_ids]
    )
    page.locator(".find .add").first.click()
    expect(why).to_contain_text(
        "Not recommended: excluded, because it is in the history."
    )  # it changes with the history


def test_noise_and_a_held_out_item_over_the_edits(open_page, mixing_run, mixing_export):
    """Both lists, the places of the held-out item in them, and the probability that an event is noise."""
    from playwright.sync_api import expect

    model, items = mixing_run.model, ServedItems.read(mixing_export).vocabulary
    history, target = list(items.items[20:24]), items.items[3]

    def check(page: Any, history: list[str]) -> None:
        item_ids = [items.to_ids(history)]
        for place, (edits, heading) in enumerate([("none", "As it is"), ("uniform", "Over its edits")]):
            ranked = items.to_items(list(map(int, model.recommend(item_ids, k=150, edits=edits)[0][0])))
            side = page.locator(".side").nth(place)
            expect(side.locator("h3")).to_have_text(f"{heading} · held out: place {ranked.index(target) + 1}")
            expect(side.locator("ol .title:visible")).to_have_text(ranked[:10])
        (shares,) = model.edit(item_ids, decision="argmax").probabilities
        for place, share in enumerate(shares):
            noise = f"delete {float(share[1]):.0%}"
            expect(page.locator(".decision").nth(place)).to_contain_text(noise)

    with explorer("--model", mixing_export) as (url, process):
        page = open_page(url)
        for item in [*history, target]:
            add(page, item, item)
        page.get_by_role("button", name="Hold out the newest").click()
        spoken(page, f"{target} held out.")
        expect(page.locator(".held-out")).to_contain_text(f"Held out: {target}")
        expect(page.get_by_role("button", name="Hold out the newest")).to_be_hidden()
        check(page, history)
        lists = [shown(page, f".side >> nth={place} >>") for place in (0, 1)]
        assert lists[0] != lists[1]

        page.get_by_role("button", name="Add noise").click()
        page.locator(".entry").nth(4).wait_for()
        noise = shown(page, ".entry-row")[-1]
        assert noise not in [*history, target]
        spoken(page, f"{noise} added as noise at place 5.")
        check(page, [*history, noise])
        expect(page.locator(".decision").nth(4)).to_contain_text("added as noise")
        expect(page.locator(".decision").nth(3)).not_to_contain_text("added as noise")
        assert [shown(page, f".side >> nth={place} >>") for place in (0, 1)] != lists

        page.get_by_role("button", name="Put back").click()
        spoken(page, f"{target} added at place 6.")
        expect(page.locator(".side h3")).to_have_text(["As it is", "Over its edits"])
        expect(page.locator(".held-out")).to_be_hidden()
        page.get_by_role("button", name="Clear history").click()
        spoken(page, "The history is empty.")
        page.get_by_role("button", name="Add noise").click()
        page.locator(".entry").nth(0).wait_for()
        page.get_by_role("button", name="Hold out the newest").click()
        spoken(page, "held out.")
        page.get_by_role("button", name="Put back").click()
        expect(page.locator(".decision").nth(0)).to_contain_text("added as noise")
        end(process, signal.SIGINT)


def test_a_server_with_a_low_max_k_shows_the_list_over_the_edits(open_page, mixing_export):
    from playwright.sync_api import expect

    item = ServedItems.read(mixing_export).vocabulary.items[20]
    with ModelServer("shop", mixing_export, port=0, limits=RequestLimits(max_k=50)) as small:
        target = f"127.0.0.1:{small.port}"
        with RetrievalClient(target, "shop", timeout=60) as client:
            (best,) = client.recommend([item])
        with explorer("--model", mixing_export, "--server", target) as (url, process):
            page = open_page(url)
            add(page, item, item)
            spoken(page, f"{item} added at place 1.")
            expect(page.locator(".side:visible h3")).to_have_text(["Over its edits"])
            assert shown(page, ".side:visible") == list(best.item_ids)
            expect(page.locator(".raw-problem")).to_contain_text("max_k")
            expect(page.get_by_role("alert")).to_be_hidden()
            end(process, signal.SIGINT)


def test_its_own_server_and_a_model_without_an_augmenter(open_page, sasrec_export):
    from playwright.sync_api import expect

    item = ServedItems.read(sasrec_export).vocabulary.items[0]
    with explorer("--model", sasrec_export) as (url, process):
        page = open_page(url)
        add(page, item, item)
        spoken(page, f"{item} added at place 1.")
        expect(page.locator(".decision .mark")).to_have_text("")
        expect(page.locator(".legend")).to_have_text("This model has no augmenter, so it cleans no histories.")
        expect(page.locator(".side")).to_have_count(1)
        end(process, signal.SIGINT)


def test_a_server_that_went_away(open_page, url, server, titles):
    """The last test in the browser, because it stops the server."""
    from playwright.sync_api import expect

    page = open_page(url)
    server.stop().wait()
    find(page, "", next(iter(titles.values())))
    page.locator(".find .add").first.click()
    expect(page.get_by_role("alert")).to_contain_text("UNAVAILABLE", timeout=60_000)


def fail(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(["explore", *map(str, arguments), "--no-browser"])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.count("\n") == 1
    return error


@pytest.mark.parametrize(("told", "excludes"), [((), True), (("--keep-history",), False)])
def test_the_page_excludes_the_history_as_it_is_told(monkeypatch, laclrec_export, told, excludes):
    pages = []
    monkeypatch.setattr("laclrec_tf.explorer.app._app", lambda name, target, items, titles: pages.append(items))
    monkeypatch.setattr("laclrec_tf.explorer.app._serve", lambda app, listener: None)
    with pytest.raises(SystemExit) as exit_:
        main(
            ["explore", "--model", str(laclrec_export), "--server", "127.0.0.1:1", "--port", "0", "--no-browser", *told]
        )
    assert exit_.value.code == 0
    assert [items.exclude_history for items in pages] == [excludes]


def test_mistakes(tmp_path, capsys, laclrec_export, monkeypatch):
    assert "is no folder, so there is no model" in fail(capsys, "--model", tmp_path / "none")
    (tmp_path / "titles.csv").write_text("item_id,name\n1,tent\n")
    error = fail(capsys, "--model", laclrec_export, "--titles", tmp_path / "titles.csv")
    assert "no column 'title'" in error
    assert "HOST:PORT" in fail(capsys, "--model", laclrec_export, "--server", "nowhere")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Cannot listen on 127.0.0.1, port {port}" in fail(capsys, "--model", laclrec_export, "--port", port)
    monkeypatch.setitem(sys.modules, "nicegui", None)
    assert "pip install 'laclrec-tf[explore]'" in fail(capsys, "--model", laclrec_export)
