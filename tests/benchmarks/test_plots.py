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
    *legend, first, second = root.findall(".//circle")
    assert [float(mark.attrib["cy"]) > HEIGHT for mark in legend] == [True, True]
    assert float(first.attrib["cx"]) < float(second.attrib["cx"]) < WIDTH
    assert HEIGHT > float(first.attrib["cy"]) > float(second.attrib["cy"]) > 0
    texts = [element.text for element in root.iter("text")]
    assert {"a<b", "ids", "hats & boots", "PSNR outside the animals, dB", "success"} <= set(texts)
    assert any(text and text.endswith(" %") for text in texts)


def test_one_point_without_an_interval_is_drawn_too() -> None:
    text = scatter([point("dds", 25, 0, None)], COLUMNS["background_psnr"], COLUMNS["success"])
    _, circle = ElementTree.fromstring(text).findall(".//circle")
    assert float(circle.attrib["cx"]) == pytest.approx(WIDTH / 2)
    assert "nan" not in text


def test_a_line_goes_through_its_values() -> None:
    lines = {
        "dds": [(1.0, point("", 0, 20)[2]), (10.0, point("", 0, 30)[2])],
        "ids": [(5.0, point("", 0, 25, None)[2])],
    }
    text = curves(lines, Column("steps & more", 0), COLUMNS["background_psnr"])
    root = ElementTree.fromstring(text)
    *_, first, last, alone = root.findall(".//circle")
    assert float(first.attrib["cx"]) < float(alone.attrib["cx"]) < float(last.attrib["cx"])
    assert float(first.attrib["cy"]) > float(alone.attrib["cy"]) > float(last.attrib["cy"])
    way = root.findall(".//polyline")[0].attrib["points"].split()
    assert way == [f"{dot.attrib['cx']},{dot.attrib['cy']}" for dot in (first, last)]
    assert {"dds", "ids", "steps & more"} <= {element.text for element in root.iter("text")}


def test_the_names_are_below_and_inside_and_none_over_another() -> None:
    long = "cds+fpr noise.iterations=3 noise.step_size=0.4 guidance=7.5 steps=300"
    names = ["ids", "dds", long, long.replace("300", "400"), *(f"method-{i}" for i in range(14))]
    text = scatter([point(name, 20, 0.5) for name in names], *map(COLUMNS.get, ("psnr", "iou")))
    root = ElementTree.fromstring(text)
    height = float(root.attrib["viewBox"].split()[-1])
    said = [each for each in root.iter("text") if float(each.attrib.get("y", 0)) > HEIGHT]
    assert len({each.text for each in said}) == len(names) and {"ids", "dds"} < {
        each.text for each in said
    }
    assert long in {each.text for each in root.iter("title")}, "whole under the pointer"
    boxes = [(float(e.attrib["x"]), float(e.attrib["y"]), 5.5 * len(e.text or "")) for e in said]
    assert all(x + length < WIDTH and y < height for x, y, length in boxes)
    for i, (x, y, length) in enumerate(boxes):
        for other, down, width in boxes[:i]:
            assert abs(y - down) >= 12 or x > other + width or other > x + length
    marks = [
        (group.attrib["stroke"], group.find("circle") is None, group.find("rect") is None)
        for group in root.iter("g")
    ]
    assert len(set(marks)) == len(names), "told apart by ink and shape"


def test_a_share_is_never_below_nothing_nor_above_all() -> None:
    points = [point("dds", 25, 0.02, 0.0), point("ids", 26, 0.99, 0.0)]
    text = scatter(points, COLUMNS["background_psnr"], COLUMNS["success"])
    said = {each.text for each in ElementTree.fromstring(text).iter("text")}
    shares = [int(each.split()[0]) for each in said if each and each.endswith(" %")]
    assert min(shares) == 0 and max(shares) == 100
