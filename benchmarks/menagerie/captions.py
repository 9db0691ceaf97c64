"""The Menagerie's small grammar: what a scene is called, in several ways."""

import itertools
import random
import re
from collections.abc import Collection
from typing import Any

from benchmarks.menagerie.scene import (
    CHOICES,
    COATS,
    COLORS,
    OWN_COAT,
    PLACES,
    SPECIES,
    STYLES,
    WORN,
    Scene,
)

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
    "purple": ("purple", "violet"),
    "spotted": ("spotted", "dotted"),
    "striped": ("striped", "stripy"),
    "meadow": ("on a meadow", "in a meadow", "on the grass", "in a field"),
    "beach": ("on a beach", "on the beach", "at the sea", "on the sand"),
    "room": ("in a room", "in the house", "indoors"),
    "snow": ("in the snow", "on snow", "in winter"),
    "night": ("at night", "in the moonlight", "in the dark"),
    "desert": ("in a desert", "in the desert", "on a dune"),
    "forest": ("in a forest", "in the forest", "in the woods"),
    "street": ("on a street", "on the road", "in the city", "in town"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "tree": ("a tree",),
    "ball": ("a {} ball",),
    "house": ("a house", "a house with a {} roof"),
    "rock": ("a rock", "a stone"),
    "mushroom": ("a {} mushroom", "a {} toadstool"),
    "box": ("a {} box", "a {} crate"),
    "hat": ("with a {} hat", "wearing a {} hat", "in a {} hat", "with a {} cap"),
    "scarf": ("with a {} scarf", "wearing a {} scarf", "in a {} scarf", "with a {} shawl"),
    "sweater": ("with a {} sweater", "wearing a {} sweater", "in a {} pullover"),
    "boots": ("with {} boots", "wearing {} boots", "in {} shoes"),
    "photo": ("a photo of", "a picture of", "an image of", "a photograph of"),
    "drawing": ("a drawing of", "a cartoon of", "a sketch of"),
    "painting": ("a painting of", "an oil painting of"),
    "watercolor": ("a watercolor of", "a watercolor painting of"),
}
IRREGULAR = {"calf": "calves", "kitty": "kitties", "puppy": "puppies"}  # in the plural


def _plural(noun: str) -> str:
    return IRREGULAR.get(noun, f"{noun}s")


def caption(scene: Scene, rng: random.Random | None = None) -> str:
    """A caption of the scene: the plain full one, or with `rng` one of many wordings.

    These use synonyms, leave things out, change the order and the article, and at times the plural.
    A coat that is not the species' own is nearly always named; a natural one seldom, so "a pig" is
    a pink pig.
    """
    if rng is None:
        return _plain(scene)

    def word(key: str) -> str:
        options = SYNONYMS.get(key, (key,))
        return rng.choice(options) if rng.random() < 0.4 else options[0]

    def keep(probability: float) -> bool:
        return rng.random() < probability

    animal, coat = word(scene.species), scene.coat
    plural = keep(0.04)
    if plural:
        animal = _plural(animal)
    if coat == "natural":
        coat = OWN_COAT.get(scene.species, "") if keep(0.15) else ""
    if coat and keep(0.94):
        animal = f"{word(coat)} {animal}"
    if not plural:
        article = rng.choices(("a", "the", ""), (0.80, 0.12, 0.08))[0]
        animal = f"{article} {animal}"
    where = word(scene.place) if keep(0.7) else ""
    said = (
        [word(scene.worn).format(scene.worn_color)] if scene.worn != "none" and keep(0.88) else []
    )
    if scene.prop != "none" and keep(0.5):
        thing = word(scene.prop).format(scene.prop_color)
        said.append(("next to " if scene.prop == "ball" else "near ") + thing)
    if where and keep(0.92):
        said.insert(rng.choice((0, len(said))) if keep(0.3) else min(len(said), 1), where)
        where = ""
    text = " ".join([animal, *said])
    if keep(0.65 if scene.style == "photo" else 0.95):
        text = f"{word(scene.style)} {text}"
    return _spoken(f"{where}, {text}" if where else text)


def reworded(scene: Scene) -> str:
    """The plain full caption with other words for the same things, where there are any."""
    return _plain(scene, -1)


def _plain(scene: Scene, way: int = 0) -> str:
    """All there is to say of a scene, in the first of the words that there are for it."""

    def word(key: str) -> str:
        return SYNONYMS.get(key, (key,))[way]

    animal = word(scene.species)
    if scene.coat != "natural":
        animal = f"{word(scene.coat)} {animal}"
    parts = [word(scene.style), f"a {animal}"]
    if scene.worn != "none":
        parts.append(word(scene.worn).format(scene.worn_color))
    parts.append(word(scene.place))
    if scene.prop != "none":
        thing = word(scene.prop).format(scene.prop_color)
        parts.append(("next to " if scene.prop == "ball" else "near ") + thing)
    return _spoken(" ".join(parts))


def _worn(thing: str, color: str) -> str:
    return SYNONYMS[thing][0].format(color)


def grammar(without: Collection[str] = ()) -> dict[str, Any]:
    """The plain captions for a captioner: a template and its slots; and their words.

    Args:
        without: slots to leave out, of `coat`, `worn` and `place`.
    """
    slots = {
        "style": [SYNONYMS[style][0] for style in STYLES],
        "coat": ["", *COATS[1:]],
        "species": list(SPECIES),
        "worn": ["", *(_worn(thing, color) for thing in WORN[1:] for color in COLORS)],
        "place": [SYNONYMS[place][0] for place in PLACES],
    }
    synonyms = {
        slots[slot][i]: list(SYNONYMS[name][1:])
        for slot, names in (("style", STYLES), ("species", SPECIES), ("place", PLACES))
        for i, name in enumerate(names)
    }
    synonyms |= {coat: list(SYNONYMS[coat][1:]) for coat in COATS[1:] if coat in SYNONYMS}
    for thing, color in itertools.product(WORN[1:], COLORS):
        synonyms[_worn(thing, color)] = [way.format(color) for way in SYNONYMS[thing][1:]]
    template = "{style} a {coat} {species} {worn} {place}"
    for slot in without:
        del slots[slot]
        template = " ".join(template.replace(f"{{{slot}}}", "").split())
    spoken = {phrase for choices in slots.values() for phrase in choices}
    synonyms = {phrase: ways for phrase, ways in synonyms.items() if ways and phrase in spoken}
    return {"template": template, "slots": slots, "synonyms": synonyms, "words": words()}


def words() -> list[str]:
    """All words that captions are made of, sorted."""
    ways = (way for ways in SYNONYMS.values() for way in ways)
    animals = (_plural(noun) for species in SPECIES for noun in SYNONYMS[species])
    named = (*COATS[1:], *COLORS, *ways, *animals, "a an the near next to")
    return sorted({word for text in named for word in re.findall(r"[a-z]+", text)})


def names(text: str, scene: Scene, part: str) -> bool:
    """Whether a caption of `scene` speaks of its `animal`, of the `prop` or of the thing `worn`."""
    if part == "animal":
        return text != ""
    thing, color = (
        (scene.prop, scene.prop_color) if part == "prop" else (scene.worn, scene.worn_color)
    )
    return any(way.format(color) in text for way in SYNONYMS.get(thing, ()))


def _spoken(text: str) -> str:
    """No gap where a slot is empty, and the right article."""
    return re.sub(r"\ba(?= [aeiou])", "an", " ".join(text.split()))


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
            [_spoken(pattern.format(species=name, value=value)) for value in slots[slot]]
            for name in SPECIES
        ]
    return rows


def slot_value(scene: Scene, slot: str) -> int:
    """Which of the grammar's values for `slot` is true of `scene`."""
    if slot == "worn":
        words = "" if scene.worn == "none" else _worn(scene.worn, scene.worn_color)
        return list(grammar()["slots"]["worn"]).index(words)
    return CHOICES[slot].index(getattr(scene, slot))
