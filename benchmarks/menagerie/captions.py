"""The Menagerie's small grammar: what a scene is called, in several ways."""

import random
import re
from collections.abc import Collection
from typing import Any

from benchmarks.menagerie.scene import CHOICES, COATS, COLORS, PLACES, SPECIES, STYLES, WORN, Scene

SYNONYMS: dict[str, tuple[str, ...]] = {
    "cat": ("cat", "kitty", "kitten"),
    "dog": ("dog", "puppy", "hound"),
    "pig": ("pig", "piglet", "hog"),
    "cow": ("cow", "calf"),
    "lion": ("lion",),
    "tiger": ("tiger",),
    "squirrel": ("squirrel",),
    "penguin": ("penguin",),
    "gray": ("gray", "grey"),
    "golden": ("golden", "yellow"),
    "meadow": ("on a meadow", "in a meadow", "on the grass", "in a field"),
    "beach": ("on a beach", "on the beach", "at the sea", "on the sand"),
    "room": ("in a room", "in the house", "indoors"),
    "snow": ("in the snow", "on snow", "in winter"),
    "night": ("at night", "in the moonlight", "in the dark"),
    "tree": ("a tree",),
    "ball": ("a {} ball",),
    "house": ("a house", "a house with a {} roof"),
    "rock": ("a rock", "a stone"),
    "photo": ("a photo of", "a picture of", "an image of", "a photograph of"),
    "drawing": ("a drawing of", "a cartoon of", "a sketch of"),
}


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def caption(scene: Scene, rng: random.Random | None = None) -> str:
    """A caption of the scene: the plain full one, or with `rng` one of many wordings.

    These use synonyms and may leave things out. A coat that is not the species' own is nearly
    always named; a natural one never, so "a pig" is a pink pig.
    """
    rng_ = rng or random.Random(0)

    def word(key: str) -> str:
        options = SYNONYMS.get(key, (key,))
        return rng_.choice(options) if rng and rng_.random() < 0.4 else options[0]

    def keep(probability: float) -> bool:
        return rng is None or rng_.random() < probability

    animal = word(scene.species)
    if scene.coat != "natural" and keep(0.92):
        animal = f"{word(scene.coat)} {animal}"
    text = _article(animal)
    if scene.worn != "none" and keep(0.85):
        text += f" with a {scene.worn_color} {scene.worn}"
    if keep(0.7):
        text += f" {word(scene.place)}"
    if scene.prop != "none" and keep(0.5):
        thing = word(scene.prop).format(scene.prop_color)
        text += (" next to " if scene.prop == "ball" else " near ") + thing
    if scene.style == "drawing":
        return f"{word('drawing')} {text}" if keep(0.95) else text
    return f"{word('photo')} {text}" if keep(0.65) else text


def grammar(without: Collection[str] = ()) -> dict[str, Any]:
    """The plain captions as a template and its slots, for a captioner, and all words of captions.

    Args:
        without: slots to leave out, of `coat`, `worn` and `place`.
    """
    slots = {
        "style": [SYNONYMS[style][0] for style in STYLES],
        "coat": ["", *COATS[1:]],
        "species": list(SPECIES),
        "worn": [
            "",
            *(f"with a {color} {thing}" for thing in ("hat", "scarf") for color in COLORS),
        ],
        "place": [SYNONYMS[place][0] for place in PLACES],
    }
    template = "{style} a {coat} {species} {worn} {place}"
    for slot in without:
        del slots[slot]
        template = " ".join(template.replace(f"{{{slot}}}", "").split())
    return {"template": template, "slots": slots, "words": words()}


def words() -> list[str]:
    """All words that captions are made of, sorted."""
    ways = (way for ways in SYNONYMS.values() for way in ways)
    named = (*SPECIES, *COATS[1:], *COLORS, *WORN[1:], *ways, "a an with near next to")
    return sorted({word for text in named for word in re.findall(r"[a-z]+", text)})


def one_slot_captions() -> dict[str, list[list[str]]]:
    """Short captions that differ in one slot of the grammar, by slot.

    Returns:
        a list of rows for each slot, and in each row a sentence per value of the slot. The species
        have one row; the other slots a row for each species, in the order of `SPECIES`.
    """
    slots = grammar()["slots"]
    rows = {"species": [[f"a photo of a {species}" for species in SPECIES]]}
    patterns = {
        "style": "{value} a {species}",
        "coat": "a photo of a {value} {species}",
        "worn": "a photo of a {species} {value}",
        "place": "a photo of a {species} {value}",
    }
    for slot, pattern in patterns.items():
        rows[slot] = [
            [" ".join(pattern.format(species=name, value=value).split()) for value in slots[slot]]
            for name in SPECIES
        ]
    return rows


def slot_value(scene: Scene, slot: str) -> int:
    """Which of the grammar's values for `slot` is true of `scene`."""
    if slot == "worn":
        words = "" if scene.worn == "none" else f"with a {scene.worn_color} {scene.worn}"
        return list(grammar()["slots"]["worn"]).index(words)
    return CHOICES[slot].index(getattr(scene, slot))
