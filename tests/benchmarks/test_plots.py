"""Plots as SVG."""

from xml.etree import ElementTree

import pytest

from benchmarks.metrics import COLUMNS, Column
from benchmarks.plots import HEIGHT, WIDTH, Point, curves, scatter, ticks


def point(name: str, x: float, y: float, spread: float | None = 0.1) -> Point:
    if spread is None:
        return name, {"mean": x, "low": None, "high": None}, {"mean": y, "low": None, "high": None}
    return (
        name,
        {"mean": x, "low": x - spread, "high": x + spread},
        {"mean": y, "low": y - spread, "high": y + spread},
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (23.1, 27.2, [24.0, 25.0, 26.0, 27.0]),
        (-0.03, 0.04, [-0.02, 0.0, 0.02, 0.04]),
        (5.0, 5.0, [5.0]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_points_are_where_their_values_are() -> None:
    points = [point("a<b", 20, 0.5), point("ids", 30, 0.9)]
    text = scatter(points, COLUMNS["background_psnr"], COLUMNS["success"], "hats & boots")
    root = ElementTree.fromstring(text)
    first, second = root.findall(".//circle")
    assert float(first.attrib["cx"]) < float(second.attrib["cx"]) < WIDTH
    assert HEIGHT > float(first.attrib["cy"]) > float(second.attrib["cy"]) > 0
    texts = [element.text for element in root.iter("text")]
    assert {"a<b", "ids", "hats & boots", "background PSNR, dB", "success"} <= set(texts)
    assert any(text and text.endswith(" %") for text in texts)


def test_one_point_without_an_interval_is_drawn_too() -> None:
    text = scatter([point("dds", 25, 0, None)], COLUMNS["background_psnr"], COLUMNS["success"])
    (circle,) = ElementTree.fromstring(text).findall(".//circle")
    assert float(circle.attrib["cx"]) == pytest.approx(WIDTH / 2)
    assert "nan" not in text


def test_a_line_goes_through_its_values() -> None:
    lines = {
        "dds": [(1.0, point("", 0, 20)[2]), (10.0, point("", 0, 30)[2])],
        "ids": [(5.0, point("", 0, 25, None)[2])],
    }
    text = curves(lines, Column("steps & more", 0), COLUMNS["background_psnr"])
    root = ElementTree.fromstring(text)
    first, last, alone = root.findall(".//circle")
    assert float(first.attrib["cx"]) < float(alone.attrib["cx"]) < float(last.attrib["cx"])
    assert float(first.attrib["cy"]) > float(alone.attrib["cy"]) > float(last.attrib["cy"])
    way = root.findall(".//polyline")[0].attrib["points"].split()
    assert way == [f"{dot.attrib['cx']},{dot.attrib['cy']}" for dot in (first, last)]
    assert {"dds", "ids", "steps & more"} <= {element.text for element in root.iter("text")}
