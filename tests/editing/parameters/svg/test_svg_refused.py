"""SVG files that are refused, each with one sentence."""

import gzip
import re
from pathlib import Path

import pytest

from editing.errors import UserError
from editing.parameters.svg import read_svg
from tests.editing.parameters.svg.examples import Read

LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 9 if i else "ha"}">' for i in range(9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<script>alert(1)</script>", "contains a <script>"),
        ('<h:SCRIPT xmlns:h="http://www.w3.org/1999/xhtml"/>', "contains a <script>"),
        ('<circle r="5" onclick="alert(1)"/>', "a script in onclick='alert(1)'"),
        ('<a href="java&#10;script:x()"><circle r="5"/></a>', "contains a script in href="),
        ('<set attributeName="href" to=" JavaScript:x()"/>', "contains a script in to="),
        ('<use href="other.svg#a"/>', "href='other.svg#a', which is never followed"),
        ('<use xlink:href="http://a.b/c#d" xmlns:xlink="x"/>', "xlink:href='http://a.b/c#d'"),
        ('<image href="data:image/png;base64,AA"/>', "holds a file, href='data:image/png"),
        ('<circle r="5" fill="url(http://a.b/#c)"/>', "refers to something elsewhere in fill="),
        ("<circle r='5' style='filter: url( \"//a.b\" )'/>", "elsewhere in style="),
        ("<style>@import 'http://a.b/c.css';</style>", "\"@import 'http"),
        ("<style>.a { mask: url('b.svg#c') }</style>", "elsewhere in <style>"),
        ("<style>.a { fill: u\\72l(x) }</style>", "a backslash in <style>"),
        ("<style>.a { cursor: image-set('https://a.b' 1x) }</style>", "elsewhere in <style>"),
        ('<h:img xmlns:h="x" src="//a.b/c.png"/>', "refers to something elsewhere, src="),
        (
            '<h:video xmlns:h="http://www.w3.org/1999/xhtml" poster="//a.b"/>',
            "contains <h:video>, which is not of SVG",
        ),
        ('<g xmlns="http://www.w3.org/1999/xhtml"/>', "contains <g>, which is not of SVG"),
        ('<s:a xmlns:s="http://www.w3.org/2000/svg"/>', "contains <s:a>, SVG by a second name"),
        ('<set attributeName="href" to="//a.b/c#d"/>', "changes a reference by <set>"),
        ('<animate attributeName="xlink:href" values="//a.b"/>', "a reference by <animate>"),
        ('<circle fill="\\75rl(//a.b/#c)"/>', "a backslash in fill="),
        ("<defs><g style='fill: u\\72l(//a.b)'/></defs>", "a backslash in style="),
        ("""<g cursor="image-set('//a.b' 1x)"/>""", "elsewhere in cursor="),
        ('<g mask="src(&quot;//a.b&quot;)"/>', "elsewhere in mask="),
        ('<g xml:base="http://a.b/"/>', "refers to something elsewhere, xml:base="),
        ("<foreignObject/>", "contains <foreignObject>"),
        ('<?xml-stylesheet href="a.css"?><svg/>', "loads a style sheet"),
        (f"<!DOCTYPE svg [{LAUGHS}]><svg>&l8;</svg>", "has a DOCTYPE of its own (svg)"),
        ('<!DOCTYPE svg SYSTEM "file:///etc/passwd"><svg/>', "DOCTYPE of its own (file:///etc"),
        (
            '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x" [<!ENTITY a "b">]><svg>&a;</svg>',
            "has a DOCTYPE of its own",
        ),
        ('<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x"><svg>&a;</svg>', "uses entities"),
    ],
)
def test_dangerous_files_are_refused(read: Read, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        read(text)
    assert said in str(error.value)
    check_sentence(str(error.value))


@pytest.mark.parametrize(
    "text",
    [
        '<g xmlns:svg="http://www.w3.org/2000/svg" xmlns:h="http://www.w3.org/1999/xhtml">{}</g>',
        '<g sodipodi:docname="image(1).svg" xmlns:sodipodi="x">{}</g>',
        '<g id="image(2)" class="src(" data-name="C:\\a">{}</g>',
        '<g inkscape:label="a\\b" xmlns:inkscape="x">{}</g>',
        '<style media="screen, print" type="text/css; charset=utf-8">g {{ opacity: 1 }}</style>{}',
        '<metadata><r:RDF xmlns:r="x"><c:Work r:about="" xmlns:c="y"/></r:RDF></metadata>{}',
    ],
)
def test_what_editors_write_is_read(read: Read, text: str) -> None:
    assert len(read(text.format('<circle r="5"/>')).fills) == 1


def check_sentence(text: str) -> None:
    assert re.search(r"^'/.*a drawing\.svg' .*[^.]\.$", text) and "\n" not in text, text
    assert len(text) - len(str(text.split("'")[1])) < 220


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<text>hello</text>", "contains <text>, which cannot be drawn: turn it into paths"),
        ('<circle r="5"><animate/></circle>', "contains <animate>"),
        ('<g><svg width="5"/></g>', "contains <svg>"),
        ('<symbol id="s"/><use href="#s"/>', "contains <symbol>"),
        ('<circle r="5" fill="url(#g)"/>', "fill='url(#g)', a gradient or a pattern"),
        ('<g clip-path="url(#c)"><circle r="5"/></g>', "clip-path='url(#c)' on <g>"),
        ('<circle r="5" stroke-dasharray="1 2"/>', "stroke-dasharray='1 2'"),
        ('<circle r="5" style="mix-blend-mode: multiply"/>', "mix-blend-mode='multiply'"),
        ('<circle style="r: 5px"/>', "says r of <circle> in CSS"),
        ('<circle r="5" fill="reddish"/>', "the colour fill='reddish'"),
        ('<circle r="5" fill="rgb(1, 2)"/>', "the colour fill='rgb(1, 2)'"),
        ('<circle r="5" fill="rgb(1, 2, nan)"/>', "the colour fill='rgb(1, 2, nan)'"),
        ('<circle r="5" opacity="half"/>', "opacity='half'"),
        ('<circle r="5" stroke="red" stroke-width="-1"/>', "stroke-width='-1'"),
        ('<circle r="5" stroke="red" stroke-linecap="flat"/>', "give butt, round, square"),
        ('<circle r="5" stroke="red" stroke-miterlimit="0"/>', "stroke-miterlimit='0'"),
        ('<circle r="5" fill-rule="odd"/>', "fill-rule='odd'"),
        ("<style>g circle { fill: red }</style>", "the selector 'g circle'"),
        ('<style media="print">circle { fill: red }</style>', "<style media='print'>"),
        ('<style type="text/less">circle { fill: red }</style>', "<style type='text/less'>"),
        ("<style>circle { fill: red !important }</style>", "has !important"),
        ("<style>circle { fill: red</style>", ""),
        ("<style>circle fill: red }</style>", "a <style> that cannot be read"),
        ('<path d="M0 0 L nan 5"/>', "d='M0 0 L nan 5', which is not path data"),
        ('<path d="L 5 5"/>', "which is not path data"),
        ('<path d="M0 0 C 1 1"/>', "which is not path data"),
        ('<path d="M0 0 L1e999 0 5 5"/>', "not finite"),
        ('<path d="M0 0 A1e300 1e300 0 0 1 1e300 5"/>', ""),
        ('<path d="M0 0 L1e60 0 5 5z"/>', "has points too large to be used"),
        ('<circle r="NaN"/>', "r='NaN', which is not a length"),
        ('<circle r="5em"/>', "r='5em', which is not a length"),
        ('<polygon points="1 2 3"/>', "points='1 2 3', which are not pairs"),
        ('<polygon points="1 2 inf 3"/>', "not pairs"),
        ('<g transform="rotate(a)"/>', "transform='rotate(a)', which cannot be read"),
        ('<g transform="matrix(1 2 3)"/>', "transform='matrix(1 2 3)'"),
        ('<g transform="scale(1e999)"/>', "transform='scale(1e999)'"),
        ('<use href="#nobody"/>', "a <use> of '#nobody', which it does not contain"),
        ('<g id="a"><use href="#a"/></g>', "of '#a' that shows itself"),
        ('<use id="a" href="#b"/><use id="b" href="#a"/>', "that shows itself"),
        ("<g>" * 120 + "</g>" * 120, "more than 100 elements within each other"),
        ("", "has no shape to draw"),
        ('<circle r="5" fill="none"/>', "has no shape to draw"),
        ("<svg/>", "says neither viewBox nor width and height"),
        ('<svg viewBox="0 0 0 5"/>', "viewBox='0 0 0 5', which shows nothing"),
        ('<svg viewBox="0 0 nan 5"/>', "viewBox='0 0 nan 5', which are not four numbers"),
        ('<svg viewBox="0 0 1e999 5"/>', "shows nothing"),
        ('<svg width="0" height="5"/>', "width='0'"),
        ('<svg viewBox="0 0 5 5" preserveAspectRatio="fill"/>', "preserveAspectRatio='fill'"),
        ('<svg viewBox="0 0 5 5" transform="scale(2)"/>', "a transform on its root"),
        ("<?xml version='1.0'?><html/>", "not an SVG: its root is <html>"),
        ('<svg xmlns="http://elsewhere"/>', "not an SVG"),
        ("<svg><g></svg>", "is not XML that can be read (mismatched tag, line 1)"),
        ("<?xml version='1.0' encoding='klingon'?><svg/>", ""),
    ],
)
def test_what_cannot_be_drawn_is_refused(read: Read, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        read(text)
    assert said in str(error.value)
    check_sentence(str(error.value))


def test_uses_of_uses_do_not_explode(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editing.parameters.svg.walk.MAX_VISITS", 1000)
    levels = "".join(
        f'<g id="l{i}">' + f'<use href="#l{i - 1}"/>' * 40 + "</g>" for i in range(1, 5)
    )
    with pytest.raises(UserError, match="paints more than 1000 elements"):
        read(f'<defs><circle id="l0" r="1"/>{levels}</defs><use href="#l4"/>')
    chain = "".join(f'<use id="l{i}" href="#l{i - 1}"/>' for i in range(1, 9))
    with pytest.raises(UserError, match="within <use>"):
        read(f'<defs><circle id="l0" r="1"/>{chain}</defs><use href="#l8"/>')


def test_long_numbers_are_read_in_no_time(read: Read) -> None:
    for text in (
        f'<path d="M{"1" * 50_000}x"/>',
        f'<polygon points="{"1 " * 50_000}x"/>',
        f'<g transform="matrix({"1 " * 50_000}x)"/>',
        f"<style>{'/*' * 50_000}</style>",
        f"<style>{'a' * 50_000}</style>",
    ):
        with pytest.raises(UserError):
            read(text)


def test_files_that_are_none(tmp_path: Path) -> None:
    empty, packed = tmp_path / "empty.svg", tmp_path / "packed.svg"
    empty.touch()
    packed.write_bytes(gzip.compress(b"<svg/>"))
    for path, said in (
        (tmp_path / "no.svg", "There is no SVG at"),
        (tmp_path, "is a folder, and an SVG is needed here."),
        (empty, "is an empty file (0 bytes)."),
        (packed, "is not XML that can be read"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            read_svg(path)
