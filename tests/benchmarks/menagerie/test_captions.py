import itertools
import random
import re

import pytest

from benchmarks.menagerie.captions import (
    IRREGULAR,
    SYNONYMS,
    caption,
    grammar,
    names,
    one_slot_captions,
    slot_value,
    words,
)
from benchmarks.menagerie.scene import (
    COATS,
    COLORS,
    PLACES,
    SPECIES,
    STYLES,
    WORN,
    Scene,
    sample_scene,
)

PLAIN = [
    (Scene(), "a photo of a cat on a meadow"),
    (Scene(coat="gray", place="beach"), "a photo of a gray cat on a beach"),
    (
        Scene(coat="gray", worn="hat", worn_color="red", place="beach"),
        "a photo of a gray cat with a red hat on a beach",
    ),
    (
        Scene(species="pig", prop="ball", prop_color="blue", place="room"),
        "a photo of a pig in a room next to a blue ball",
    ),
    (
        Scene(species="lion", prop="house", prop_color="green", place="night", style="drawing"),
        "a drawing of a lion at night near a house",
    ),
    (Scene(species="cow", prop="tree", place="snow"), "a photo of a cow in the snow near a tree"),
    (
        Scene(species="penguin", coat="golden", worn="scarf", worn_color="yellow", prop="rock"),
        "a photo of a golden penguin with a yellow scarf on a meadow near a rock",
    ),
]


@pytest.mark.parametrize(("scene", "expected"), PLAIN)
def test_plain_captions(scene: Scene, expected: str) -> None:
    assert caption(scene) == expected


def test_random_captions_stay_within_the_grammar() -> None:
    rng, scenes = random.Random(0), [sample_scene(seed) for seed in range(300)]
    captions = [caption(scenes[seed % 300], rng) for seed in range(20_000)]
    assert {word for text in captions for word in re.findall("[a-z]+", text)} == set(words())
    assert not any("{" in text or "  " in text or text != text.strip() for text in captions)
    said = {way.split()[-1] for ways in SYNONYMS.values() for way in ways}
    assert said <= {word for text in captions for word in text.split()}, "a synonym is never used"


def test_random_captions_follow_the_generator_alone() -> None:
    scene = sample_scene(3)
    ways = [caption(scene, random.Random(seed)) for seed in range(30)]
    assert ways == [caption(scene, random.Random(seed)) for seed in range(30)]
    assert len(set(ways)) > 5


def test_the_species_is_always_said() -> None:
    rng = random.Random(1)
    for seed in range(300):
        scene = sample_scene(seed)
        said = set(re.findall("[a-z]+", caption(scene, rng)))
        nouns = SYNONYMS[scene.species]
        assert said & {*nouns, *(f"{noun}s" for noun in nouns), *IRREGULAR.values()}


def test_wordings_differ_in_order_article_and_number() -> None:
    scene = Scene(worn="hat", worn_color="red", place="beach", style="photo")
    said = {caption(scene, random.Random(seed)) for seed in range(4000)}
    for way in (
        "a cat with a red hat on a beach",
        "a cat on a beach with a red hat",
        "on a beach, a cat with a red hat",
        "the cat with a red hat on a beach",
        "cat with a red hat on a beach",
        "cats with a red hat on a beach",
        "a cat wearing a red hat on a beach",
        "a gray cat with a red hat on a beach",
    ):
        assert way in said


@pytest.mark.parametrize("coat", COATS)
@pytest.mark.parametrize("species", SPECIES)
def test_a_coat_is_named_unless_natural(species: str, coat: str) -> None:
    said = caption(Scene(species=species, coat=coat))
    wanted = species if coat == "natural" else f"{coat} {species}"
    article = "an" if coat == "orange" else "a"
    assert said == f"a photo of {article} {wanted} on a meadow"


def test_the_slots_of_the_grammar_say_what_captions_say() -> None:
    spoken = grammar()
    slots, template = spoken["slots"], spoken["template"]
    worn = [("none", "red"), *itertools.product(WORN[1:], COLORS)]
    assert len(slots["worn"]) == len(worn)
    choices = itertools.product(
        STYLES,
        zip(COATS, slots["coat"], strict=True),
        SPECIES,
        zip(worn, slots["worn"], strict=True),
        zip(PLACES, slots["place"], strict=True),
    )
    for style, (coat, coat_said), species, (thing, thing_said), (
        place,
        place_said,
    ) in itertools.islice(choices, 0, None, 7):
        scene = Scene(
            species=species,
            coat=coat,
            worn=thing[0],
            worn_color=thing[1],
            place=place,
            style=style,
        )
        said = template.format(
            style=f"a {style} of",
            coat=coat_said,
            species=species,
            worn=thing_said,
            place=place_said,
        )
        assert " ".join(said.split()).replace("a orange", "an orange") == caption(scene)
    assert slots["style"] == [f"a {style} of" for style in STYLES]
    assert slots["species"] == list(SPECIES)


def test_slots_can_be_left_out_of_the_grammar() -> None:
    spoken = grammar(without=["worn", "coat"])
    assert spoken["template"] == "{style} a {species} {place}"
    assert set(spoken["slots"]) == {"style", "species", "place"}


def test_one_slot_captions_differ_in_one_slot_and_hold_the_true_one() -> None:
    scene = Scene(species="dog", coat="gray", worn="hat", worn_color="blue", place="snow")
    rows = one_slot_captions()
    true = {
        slot: of_species[SPECIES.index("dog") if len(of_species) > 1 else 0][
            slot_value(scene, slot)
        ]
        for slot, of_species in rows.items()
    }
    assert true == {
        "species": "a photo of a dog",
        "style": "a photo of a dog",
        "coat": "a photo of a gray dog",
        "worn": "a photo of a dog with a blue hat",
        "place": "a photo of a dog in the snow",
    }
    for of_species in rows.values():
        for row in of_species:
            assert len(set(row)) == len(row)


def test_what_a_caption_names() -> None:
    scene = Scene(worn="hat", worn_color="red", prop="ball", prop_color="blue")
    for text, named in (
        ("a cat", {"animal"}),
        ("a kitty in a red hat", {"animal", "worn"}),
        ("a cat with a blue hat", {"animal"}),
        ("a cat next to a blue ball", {"animal", "prop"}),
        ("", set()),
    ):
        assert {p for p in ("animal", "worn", "prop") if names(text, scene, p)} == named
    assert not names("a cat", Scene(), "worn")
