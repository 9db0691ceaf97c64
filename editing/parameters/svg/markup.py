"""The markup of an SVG: read into a tree and written again, and nothing dangerous gets in.

Nothing is ever fetched. What could run or fetch something elsewhere is refused, so that a picture
that was saved is as safe as one that was read: scripts, event handlers, references to anything but
an ``#id`` of the same file, entities, and every DOCTYPE but the W3C's own, which is dropped.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from xml.parsers import expat

MAX_BYTES = 20_000_000
MAX_DEPTH = 100  # elements within elements; what walks the tree calls itself
MAX_ELEMENTS = 100_000
SVG = "http://www.w3.org/2000/svg"

# Namespaces of pages, elements of which a browser would do more with than keep them.
PAGES = frozenset(["http://www.w3.org/1999/xhtml", "http://www.w3.org/1998/Math/MathML"])

URL = re.compile(r"url\(([^)]*)\)?", re.IGNORECASE)
ELSEWHERE = re.compile(r"(?<![\w-])(?:-webkit-)?(?:image-set|image|src)\(", re.IGNORECASE)
PLAIN = re.compile(r"(?:id|class|data-.*|aria-.*|.*:.*)$")  # attributes that are no CSS
FOREIGN = frozenset("foreignobject iframe object embed".split())


class SvgError(ValueError):
    """Why an SVG cannot be used: the rest of a sentence that begins with the name of its file."""


def parse(data: bytes) -> ET.Element:
    """The tree of an SVG. Names are as they are written, prefixes included, but for SVG's own.

    Comments within the root are kept; what stands outside it, and processing instructions, are not.

    Raises:
        SvgError: for what is not well-formed XML, not an SVG, too large, or dangerous.
    """
    if len(data) > MAX_BYTES:
        raise SvgError(f"has {len(data)} bytes: at most {MAX_BYTES // 10**6} MB are read")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.CommentHandler = reader.comment
    parser.ProcessingInstructionHandler = reader.instruction
    parser.StartDoctypeDeclHandler = reader.doctype
    # A DOCTYPE that could define an entity is refused already; these close every other way.
    handlers = "EntityDecl", "SkippedEntity", "UnparsedEntityDecl", "ExternalEntityRef"
    for name in handlers:
        setattr(parser, f"{name}Handler", _refuse_entity)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        words = expat.errors.messages.get(error.code, "unknown error")
        raise SvgError(f"is not XML that can be read ({words}, line {error.lineno})") from error
    except (LookupError, UnicodeError) as error:
        raise SvgError(f"is in an encoding that cannot be read ({error})") from error
    return reader.tree.close()


def serialise(root: ET.Element) -> bytes:
    """The tree as UTF-8, with an XML declaration."""
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _refuse_entity(*declaration: object) -> None:
    raise SvgError("defines or uses entities: write what they stand for in their place")


class _Reader:
    """Handlers of expat that build a tree and look at everything that comes in."""

    def __init__(self) -> None:
        self.tree = ET.TreeBuilder(insert_comments=True)
        self.prefix: str | None = None  # of SVG itself, "svg:" in some files
        self.depth = self.count = 0
        self.spaces: list[dict[str, str]] = []  # of each element that is open, by prefix

    def doctype(self, name: str, system: str | None, public: str | None, subset: int) -> None:
        if subset or (system and not (public or "").startswith("-//W3C//DTD SVG")):
            raise SvgError(f"has a DOCTYPE of its own ({system or name}): remove it")

    def instruction(self, target: str, data: str) -> None:
        if target == "xml-stylesheet":
            raise SvgError("loads a style sheet (<?xml-stylesheet?>): write it into the file")

    def comment(self, text: str) -> None:
        if self.depth:
            self.tree.comment(text)

    def text(self, text: str) -> None:
        if self.depth:
            self.tree.data(text)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.prefix is None:
            self.prefix = _prefix_of_root(name, attributes)
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH:
            raise SvgError(f"has more than {MAX_DEPTH} elements within each other: ungroup some")
        if self.count > MAX_ELEMENTS:
            raise SvgError(f"has more than {MAX_ELEMENTS} elements: simplify it")
        _refuse_danger(name, attributes)
        self._refuse_namespace(name, attributes)
        if self.prefix:  # so that an element of SVG has the same name in every tree
            name = name.removeprefix(self.prefix)
            attributes.pop(f"xmlns:{self.prefix[:-1]}", None)
        if self.depth == 1:
            attributes = {"xmlns": SVG, **attributes}
        self.tree.start(name, attributes)

    def _refuse_namespace(self, name: str, attributes: Mapping[str, str]) -> None:
        """Looks at the namespace of an element; those that are only declared do no harm."""
        scope = self.spaces[-1] if self.spaces else {}
        declared = {
            key.partition(":")[2]: value
            for key, value in attributes.items()
            if key.partition(":")[0] == "xmlns"
        }
        self.spaces.append(scope | declared if declared else scope)
        prefix = name.rpartition(":")[0]
        space = self.spaces[-1].get(prefix)
        if space in PAGES:
            raise SvgError(f"contains <{name}>, which is not of SVG: remove it")
        if space == SVG and prefix != (self.prefix or "").removesuffix(":"):
            raise SvgError(f"contains <{name}>, SVG by a second name: write it as those around it")

    def end(self, name: str) -> None:
        self.depth -= 1
        self.spaces.pop()
        self.tree.end(name.removeprefix(self.prefix or ""))


def _prefix_of_root(name: str, attributes: Mapping[str, str]) -> str:
    prefix, colon, local = name.rpartition(":")
    space = attributes.get(f"xmlns:{prefix}" if colon else "xmlns")
    # A file without any namespace is common, and what is meant is clear.
    if local != "svg" or (space != SVG and (space or colon)):
        raise SvgError(f"is XML, but not an SVG: its root is <{name}>")
    if colon and "xmlns" in attributes:
        raise SvgError(f"uses the prefix {prefix}: beside another default namespace: remove one")
    return prefix + colon


def _refuse_danger(name: str, attributes: Mapping[str, str]) -> None:
    element = name.rpartition(":")[2].lower()
    if element == "script":
        raise SvgError("contains a <script>: remove it")
    if element in FOREIGN:
        raise SvgError(f"contains <{name}>, which is not of SVG: remove it")
    for attribute, value in attributes.items():
        local = attribute.rpartition(":")[2].lower()
        squeezed = re.sub(r"[\s\x00-\x1f]", "", value).lower()
        if "javascript:" in squeezed:
            raise SvgError(f"contains a script in {attribute}={shortened(value)!r}: remove it")
        if attribute.lower().startswith("on"):
            raise SvgError(f"contains a script in {attribute}={shortened(value)!r}: remove it")
        if squeezed.startswith("data:"):
            raise SvgError(
                f"holds a file, {attribute}={shortened(value)!r}, which cannot be drawn: remove it"
            )
        if attribute == "xml:base" or (
            local in ("href", "src") and not value.strip().startswith("#")
        ):
            raise SvgError(
                f"refers to something elsewhere, {attribute}={shortened(value)!r}, which is never "
                "followed: remove it or use the #id of an element of the same file"
            )
        where = f"{attribute}={shortened(value)!r}"
        if PLAIN.match(attribute) is None:
            if "\\" in value:  # which CSS reads as other letters
                raise SvgError(f"has a backslash in {where}, which cannot be used: remove it")
            refuse_elsewhere(value, where)
        else:
            refuse_urls(value, where)
    if attributes.get("attributeName", "").rpartition(":")[2].strip().lower() == "href":
        raise SvgError(f"changes a reference by <{name}>: remove it")


def refuse_elsewhere(text: str, where: str) -> None:
    """Looks at ``url(...)`` and its like in CSS: only ``url(#id)`` is let through.

    Raises:
        SvgError: if it names anything else.
    """
    refuse_urls(text, where)
    if ELSEWHERE.search(text):
        raise SvgError(_elsewhere(where))


def refuse_urls(text: str, where: str) -> None:
    """Looks at ``url(...)`` in a text: only ``#id`` is let through.

    Raises:
        SvgError: if it names anything else.
    """
    targets = [url.strip().strip("'\"").strip() for url in URL.findall(text)]
    if not all(target.startswith("#") for target in targets):
        raise SvgError(_elsewhere(where))


def _elsewhere(where: str) -> str:
    return (
        f"refers to something elsewhere in {where}, which is never followed: remove it or use the "
        "#id of an element of the same file"
    )


def shortened(text: str, length: int = 40) -> str:
    """A text on one line and not too long, for a message."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."


def reference(element: ET.Element) -> str | None:
    """The id that an element refers to by ``href`` or ``xlink:href``, without its ``#``."""
    found = [element.get("href")]
    found += [v for k, v in element.attrib.items() if k.endswith(":href")]
    return next((value.strip()[1:] for value in found if value), None)


def replace_child(root: ET.Element, old: ET.Element, new: ET.Element) -> None:
    """Puts an element in the place of another, below ``root``."""
    parent = next(node for node in root.iter() if any(child is old for child in node))
    new.tail = old.tail
    parent[list(parent).index(old)] = new
