"""Charts use the page's colours and font, and show the given values."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np

from laclrec_tf.report.charts import bar_chart, line_chart, reliability_chart


def texts(svg):
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    return ["".join(each.itertext()).strip() for each in root.iter("text")], root


def test_a_line_chart_names_its_curves_and_takes_the_pages_style():
    svg = line_chart("losses & more", {"next item": [3.0, math.nan, 1.0], "contrast": [2.0, 2.0, 2.0]}, marked_epoch=2)
    found, root = texts(svg.replace("&", "&amp;"))
    assert {"next item", "contrast", "epoch", "1", "2", "3"} <= set(found)
    assert root.attrib["role"] == "img" and root.attrib["aria-label"].startswith("losses")
    assert "width" not in root.attrib, "the page decides the width"
    assert "var(--series-1)" in svg and "var(--series-2)" in svg and "var(--muted)" in svg
    assert not re.search(r"#0[0-9a-f]{5}|DejaVu|https?:|<style", svg)


def test_bars_are_as_long_as_their_values():
    svg = bar_chart("recall", ["short", "long"], [0.2, 0.4], [0.01, math.nan])
    found, root = texts(svg)
    assert found.index("short") < found.index("long") and any(each.endswith(" %") for each in found)
    bars = [each for each in root.iter("path") if each.attrib.get("style", "").startswith("fill: var(--series-1)")]
    widths = []
    for bar in bars:
        x = [float(number) for number in re.findall(r"[ML] ([0-9.]+)", bar.attrib["d"])]
        widths.append(max(x) - min(x))
    assert len(widths) == 2 and abs(widths[1] / widths[0] - 2) < 1e-3


def test_empty_bins_of_a_reliability_chart_are_left_out():
    nothing = math.nan
    series = {"keep": (np.array([0.2, nothing, 0.9]), np.array([0.3, nothing, 0.8]), np.array([5, 0, 2]))}
    svg = reliability_chart("calibration", series)
    _, root = texts(svg)
    (dots,) = (group for group in root.iter("g") if "PathCollection" in group.attrib.get("id", ""))
    assert len(list(dots.iter("path"))) == 2 and "nan" not in svg


def test_names_within_charts_of_one_page_differ_and_the_same_chart_is_the_same():
    first, second = (bar_chart(name, ["a"], [0.5], [0.1]) for name in ("one", "two"))
    names = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (first, second)]
    assert names[0] and not names[0] & names[1]
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', first)) <= names[0]
    assert bar_chart("one", ["a"], [0.5], [0.1]) == first
