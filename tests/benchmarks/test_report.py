"""The page, as text and in a browser."""

import base64
import os
import re
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.report import main, report
from benchmarks.rows import picture_path, write_row
from editing.errors import UserError
from tests.benchmarks.example_rows import row

FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync"
).split()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods on six cases; dds worsens from case to case, one edit of ids has failed."""
    folder = tmp_path_factory.mktemp("runs") / "cats"
    shades = {"source": 20, "exact answer": 240, "dds": 120, "ids": 180}
    number = 0
    for method, shade in shades.items():
        for case in range(6):
            number += 1
            key = f"{number:032x}"
            made = row(method, case, 20.0 - case + shade / 100)
            made["metrics"]["background_psnr"] = 30.0 + case + shade / 100
            if (method, case) == ("ids", 3):
                made |= {"status": "failed", "metrics": {}, "reason": "<b>no</b> memory"}
            path = picture_path(folder, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (shade, 10 * case, 0)).save(path)
            write_row(folder, key, {**made, "picture": key})
    return folder


def test_the_page_needs_nothing_from_elsewhere(run: Path) -> None:
    page = report([run])
    assert set(re.findall(r"(?:src|href)=[\"']?(.{5})", page)) == {"data:"}
    assert "http" not in re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
    assert page.count("data:image/png") == 23 and page.count('class="case"') == 6
    assert "&lt;b&gt;no&lt;/b&gt; memory" in page and "<b>no</b>" not in page
    assert page.count("<svg") == 2, "species, and PSNR to the exact answer, against the background"


def test_large_pictures_are_shown_smaller(tmp_path: Path) -> None:
    made = row("dds", 0, 20.0)
    path = picture_path(tmp_path, "a" * 32)
    path.parent.mkdir(parents=True)
    Image.effect_noise((1024, 512), 64).convert("RGB").save(path)
    write_row(tmp_path, "a" * 32, {**made, "picture": "a" * 32})
    (data,) = re.findall(r"data:image/webp;base64,([\w+/=]+)", report([tmp_path]))
    shown = Image.open(BytesIO(base64.b64decode(data)))
    assert shown.size == (256, 128) and len(data) < path.stat().st_size / 10


def test_as_many_cases_as_are_asked_for(run: Path) -> None:
    assert report([run], cases=2).count('class="case"') == 2


def test_runs_of_the_same_cases_are_shown_as_one(run: Path, tmp_path: Path) -> None:
    """Another folder has another method, and its own copy of the source."""
    for number, method in enumerate(("source", "sds")):
        for case in range(6):
            key = f"{1000 + 10 * number + case:032x}"
            path = picture_path(tmp_path, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (60, 0, 0)).save(path)
            write_row(tmp_path, key, {**row(method, case, 5.0), "picture": key, "time": 1.0})
    page = report([run, tmp_path])
    assert page.count("<section") == 1 and f"{run}, {tmp_path}" in page
    assert page.count('class="case"') == 6 and page.count('data-label="sds"') == 6
    assert page.count('data-label="source"') == 6 and "dds - sds" in page
    assert "data:," not in page, "every picture is found where it is"
    write_row(tmp_path, "b" * 32, {**row("sds", 9, 5.0), "picture": "none"})
    assert report([run, tmp_path]).count("<section") == 2, "one has a case that the other has not"


def test_a_picture_that_is_gone_or_broken_leaves_a_gap(tmp_path: Path) -> None:
    for case, contents in enumerate((None, b"", b"\x89PNG\r\n")):
        made = row("dds", case, 20.0)
        key = f"{case:032x}"
        path = picture_path(tmp_path, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        if contents is not None:
            path.write_bytes(contents)
        write_row(tmp_path, key, {**made, "picture": key})
    assert report([tmp_path]).count('src="data:,"') == 3


def test_the_plot_of_all_kinds_comes_first_and_the_rest_is_folded(tmp_path: Path) -> None:
    for i, kind in enumerate(("dog", "pig")):
        made = {**row("dds", i, 20.0), "group": kind}
        made["metrics"]["background_psnr"] = 30.0
        write_row(tmp_path, f"{i:032x}", made)
    page = report([tmp_path])
    titles = re.findall(r'class="title">(\w+)<', page)
    assert titles == ["all", "all", "dog", "dog", "pig", "pig"]
    assert page.index(">all<") < page.index("<summary>dog") < page.index("<summary>pig")


def test_a_folder_without_rows_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="has no rows"):
        report([tmp_path])
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"Error: {tmp_path} has no rows: give a folder")


@pytest.fixture(scope="module")
def page(run: Path) -> Iterator[Page]:
    """The page in a browser that is not allowed to reach anything."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        assert "CI" not in os.environ, "where everything must pass there must be a chromium"
        pytest.skip("there is no chromium on this machine")
    out = run.parent / "report.html"
    assert main([str(run), "--out", str(out)]) == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        made = browser.new_page(viewport={"width": 1280, "height": 900}, offline=True)
        errors: list[Any] = []
        made.on("pageerror", lambda error: errors.append(error))
        made.goto(out.as_uri())
        yield made
        browser.close()
        assert errors == []


def names(page: Page) -> list[str]:
    return page.eval_on_selector_all(".case", "boxes => boxes.map(box => box.dataset.case)")


def test_all_pictures_are_shown(page: Page) -> None:
    sizes = page.eval_on_selector_all("img", "all => all.map(image => image.naturalWidth)")
    assert set(sizes) == {64, 0}, "and those that lie over an edit, empty"
    empty = page.eval_on_selector_all(".over", "all => all.every(image => image.hidden)")
    assert sizes.count(0) == page.locator(".over").count() and empty
    assert page.title() == "Edits: cat_to_others"
    assert page.locator(".plot circle").count() == 8, "two plots of two, and their legends"


def test_the_gallery_is_sorted_by_a_metric_of_a_method(page: Page) -> None:
    cases = [f"case-{i}" for i in range(6)]
    assert names(page) == cases
    page.select_option(".metric", "exact_psnr")
    page.select_option(".label", "dds")
    assert names(page) == cases[::-1], "the worst first"
    page.check(".down")
    assert names(page) == cases
    page.select_option(".label", "ids")
    assert names(page) == [*cases[:3], *cases[4:], "case-3"], "without a value, last"


def test_an_edit_is_compared_with_its_source_under_the_pointer(page: Page) -> None:
    frame = page.locator('.case[data-case="case-0"] figure[data-label="dds"] .compare')
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 10)
    clip = frame.locator(".over").evaluate("image => image.style.clipPath")
    assert clip == "inset(0px 75% 0px 0px)"
    shot = frame.screenshot()
    path = Path(page.url.removeprefix("file://")).with_name("frame.png")
    path.write_bytes(shot)
    seen = Image.open(path).convert("RGB")
    assert seen.getpixel((10, 60))[0] == 20 and seen.getpixel((100, 60))[0] == 120
    for label, shade in (("exact answer", 240), ("ids", 180)):
        page.select_option(".with", label)
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 12)
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 10)
        path.write_bytes(frame.screenshot())
        seen = Image.open(path).convert("RGB")
        assert seen.getpixel((10, 60))[0] == shade and seen.getpixel((100, 60))[0] == 120
    page.mouse.move(0, 0)
    assert frame.locator(".edge").is_hidden() and frame.locator(".over").is_hidden()


def test_a_table_is_sorted_by_a_click(page: Page) -> None:
    first = page.locator("table").first
    column = first.locator("th", has_text="PSNR outside")
    column.click()
    cells = first.locator("tbody tr td:first-child").all_inner_texts()
    assert cells == ["source", "dds", "ids", "exact answer"]
    column.click()
    assert first.locator("tbody tr td:first-child").all_inner_texts() == cells[::-1]
