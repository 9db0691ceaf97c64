"""What an element of an SVG looks like: style sheets, ``style`` and attributes, and their values.

The cascade is computed here and not left to svgelements, whose order of precedence is not that of
CSS, and which passes over what it does not understand.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from PIL import ImageColor

from editing.parameters.svg.markup import SvgError, refuse_elsewhere, shortened

# atomic: a long row of digits has only one reading, where many would take forever to try
NUMBER = r"(?>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
LENGTH = re.compile(rf"({NUMBER})([a-zA-Z]*|%)")
PIXELS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0}
PIXELS |= {"cm": 96 / 2.54, "mm": 96 / 25.4, "Q": 96 / 101.6}

# Properties that a child has from its parent, and what the root has.
INHERITED = {
    "color": "black",
    "fill": "black",
    "fill-opacity": "1",
    "fill-rule": "nonzero",
    "marker-end": "none",
    "marker-mid": "none",
    "marker-start": "none",
    "paint-order": "normal",
    "stroke": "none",
    "stroke-dasharray": "none",
    "stroke-linecap": "butt",
    "stroke-linejoin": "miter",
    "stroke-miterlimit": "4",
    "stroke-opacity": "1",
    "stroke-width": "1",
    "visibility": "visible",
}
OWN = {
    "background": "none",
    "background-color": "none",
    "clip-path": "none",
    "display": "inline",
    "filter": "none",
    "mask": "none",
    "mix-blend-mode": "normal",
    "opacity": "1",
    "transform-box": "view-box",
    "transform-origin": "0 0",
    "vector-effect": "none",
}
# What cannot be drawn, with the values that change nothing.
UNDRAWN = {
    "background": {"none", "transparent", "white", "#fff", "#ffffff"},
    "background-color": {"none", "transparent", "white", "#fff", "#ffffff"},
    "clip-path": {"none"},
    "filter": {"none"},
    "marker-end": {"none"},
    "marker-mid": {"none"},
    "marker-start": {"none"},
    "mask": {"none"},
    "mix-blend-mode": {"normal"},
    "paint-order": {"normal", "fill", "fill stroke", "fill stroke markers"},
    "stroke-dasharray": {"none", "0"},
    "transform-box": {"view-box"},
    "transform-origin": {"0 0", "0", "0px", "0px 0px"},
    "vector-effect": {"none"},
}
# CSS can say these as well as attributes can, and then says something else.
GEOMETRY = frozenset("d cx cy r rx ry x y width height transform rotate scale translate".split())

COMPOUND = re.compile(r"(\*|[a-zA-Z][\w-]*)?((?:[.#][\w-]+)*)")
FAR = re.compile(r"(?:https?|ftp|file|data):", re.IGNORECASE)


@dataclass(frozen=True)
class Rule:
    """Declarations for elements of a tag (empty for any), an id and classes."""

    tag: str
    ids: frozenset[str]
    classes: frozenset[str]
    declarations: Mapping[str, str]

    def matches(self, element: ET.Element) -> bool:
        """Whether it is about an element."""
        return (
            self.tag in ("", element.tag)
            and self.ids <= {element.get("id", "")}
            and self.classes <= set(element.get("class", "").split())
        )

    @property
    def specificity(self) -> tuple[int, int, int]:
        """By which it comes before or after others."""
        return len(self.ids), len(self.classes), bool(self.tag)


@dataclass(frozen=True)
class Sheet:
    """The rules of all ``<style>`` of an SVG, the weakest first."""

    rules: tuple[Rule, ...]
    seen: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict, compare=False)

    def matching(self, element: ET.Element) -> dict[str, str]:
        """What the rules declare for an element."""
        key = (element.tag, element.get("id", ""), element.get("class", ""))
        if key not in self.seen:
            self.seen[key] = {}
            for rule in self.rules:
                if rule.matches(element):
                    self.seen[key] |= rule.declarations
        return dict(self.seen[key])

    def declared(self, element: ET.Element) -> dict[str, str]:
        """What attributes, rules and the ``style`` of an element declare, in rising precedence."""
        found = {k: v.strip() for k, v in element.attrib.items() if k in INHERITED or k in OWN}
        found |= self.matching(element) | inline(element)
        sized = {"width", "height"} if element.tag == "svg" else set()  # of a window
        for name in (GEOMETRY & found.keys()) - sized:
            raise SvgError(
                f"says {name} of <{element.tag}> in CSS, which cannot be used: make it an attribute"
            )
        return {name: value for name, value in found.items() if value != "inherit"}

    def computed(self, element: ET.Element, parent: Mapping[str, str]) -> dict[str, str]:
        """The value of every property that is known here.

        Raises:
            SvgError: for what cannot be drawn; where it is not displayed either, it may be.
        """
        declared = self.declared(element)
        values = OWN | {name: parent[name] for name in INHERITED} | declared
        for name in () if values["display"] == "none" else UNDRAWN.keys() & declared.keys():
            if " ".join(values[name].lower().split()) not in UNDRAWN[name]:
                raise SvgError(
                    f"uses {name}={shortened(values[name])!r} on <{element.tag}>, which cannot be "
                    "drawn: remove it or turn what it makes into plain shapes"
                )
        return values


def read_sheet(root: ET.Element) -> Sheet:
    """The rules of a tree's ``<style>`` elements.

    Raises:
        SvgError: for selectors other than of tag, class and id together, for at-rules, and for
            sheets that are not for every medium.
    """
    for style in root.iter("style"):
        media = style.get("media", "").lower().split(",")
        kind = style.get("type", "").lower().partition(";")[0].strip()
        for name, fits in (
            ("media", any(medium.strip() in ("", "all", "screen") for medium in media)),
            ("type", kind in ("", "text/css")),
        ):
            if not fits:
                raise SvgError(
                    f"has <style {name}={shortened(style.attrib[name])!r}>, which is not applied: "
                    "remove it or the attribute"
                )
    text = "\n".join("".join(style.itertext()) for style in root.iter("style"))
    text = _without_comments(text).replace("<!--", "").replace("-->", "")
    refuse_elsewhere(text, where="<style>")
    if "@" in text:
        word = shortened(text[text.index("@") :].split("{")[0], 20)
        raise SvgError(f"has {word!r} in <style>, which cannot be used: remove it")
    rules = []
    *blocks, rest = text.split("}")
    for block in blocks:
        selectors, _, body = block.partition("{")
        if block.count("{") != 1 or rest.strip():
            raise SvgError(f"has a <style> that cannot be read at {shortened(block or rest)!r}")
        declarations = _declarations(body, "<style>")
        rules += [_rule(selector.strip(), declarations) for selector in selectors.split(",")]
    return Sheet(tuple(sorted(rules, key=lambda rule: rule.specificity)))


def _without_comments(text: str) -> str:
    first, *rest = text.split("/*")
    return first + "".join(part.partition("*/")[2] for part in rest)


def _rule(selector: str, declarations: Mapping[str, str]) -> Rule:
    match = COMPOUND.fullmatch(selector)
    if not match or not selector:
        raise SvgError(
            f"has the selector {shortened(selector)!r} in <style>, which cannot be used: only a "
            "tag, classes and an id can"
        )
    names = re.findall(r"[.#][\w-]+", match[2])
    ids, classes = (frozenset(n[1:] for n in names if n[0] == mark) for mark in "#.")
    return Rule((match[1] or "").replace("*", ""), ids, classes, declarations)


def inline(element: ET.Element) -> dict[str, str]:
    """What the ``style`` attribute of an element declares."""
    return _declarations(element.get("style", ""), f"style of <{element.tag}>")


def set_inline(element: ET.Element, declarations: Mapping[str, str]) -> None:
    """Gives an element a ``style`` attribute; without declarations none is added."""
    if declarations:
        element.set("style", "; ".join(f"{name}: {value}" for name, value in declarations.items()))


def _declarations(body: str, where: str) -> dict[str, str]:
    if not body:
        return {}
    body = _without_comments(body)
    for what, found in (("a backslash", "\\" in body), ("!important", "!" in body)):
        if found:
            raise SvgError(f"has {what} in {where}, which cannot be used: remove it")
    if FAR.search(body):
        raise SvgError(f"refers to something elsewhere in {where}, which is never followed")
    pairs: Iterable[tuple[str, str, str]] = (part.partition(":") for part in body.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if value.strip()}


def colour(style: Mapping[str, str], name: str) -> tuple[float, float, float, float] | None:
    """Red, green, blue and alpha in [0, 1] of ``fill`` or ``stroke``; None where there is none.

    Raises:
        SvgError: for anything but a colour: gradients and patterns cannot be drawn.
    """
    text = " ".join(style[name].lower().split())
    if text == "currentcolor":
        text = style["color"].lower()
    if text == "none":
        return None
    if text.startswith("url("):
        raise SvgError(
            f"uses {name}={style[name]!r}, a gradient or a pattern, which cannot be drawn: "
            "give it a plain colour"
        )
    if text == "transparent":
        return 0.0, 0.0, 0.0, 0.0
    alpha = 1.0
    call = re.fullmatch(r"(rgb|hsl)a?\((.*)\)", text)
    try:
        if call:
            parts = re.split(r"\s*[,/]\s*|\s+", call[2].strip())
            if len(parts) == 4:
                alpha = fraction(parts.pop(), name)
            if call[1] == "rgb":  # which Pillow reads in whole numbers only
                shares = (fraction(part, name, 255) for part in parts)
                parts = [str(round(255 * share)) for share in shares]
            text = f"{call[1]}({','.join(parts)})"
        red, green, blue, *rest = ImageColor.getrgb(text)
    except ValueError as error:
        raise SvgError(
            f"has the colour {name}={style[name]!r}, which is not understood: write it as #rrggbb"
        ) from error
    r, g, b = (min(value, 255) / 255 for value in (red, green, blue))
    return r, g, b, rest[0] / 255 if rest else alpha


def fraction(text: str, name: str, whole: float | int = 1) -> float:
    """A share, a percentage or a number of which ``whole`` is all, brought into [0, 1].

    Raises:
        SvgError: if it is neither.
    """
    match = re.fullmatch(rf"({NUMBER})(%?)", text)
    if not match:
        raise SvgError(f"has {name}={text!r}, which is not an opacity: give a number from 0 to 1")
    return min(1.0, max(0.0, float(match[1]) / (100 if match[2] else whole)))


def length(text: str, name: str, whole: float) -> float:
    """A length in user units; a percentage is of ``whole``.

    Raises:
        SvgError: if it is none, is not finite, or has a unit that depends on a font or a window.
    """
    match = LENGTH.fullmatch(text.strip())
    unit = match[2] if match else None
    if match is None or (unit != "%" and unit not in PIXELS):
        raise SvgError(
            f"has {name}={text!r}, which is not a length that can be used: give a number"
        )
    value = float(match[1]) * (whole / 100 if unit == "%" else PIXELS[unit or ""])
    if not math.isfinite(value):
        raise SvgError(f"has {name}={text!r}, which is not finite: give a smaller number")
    return value
