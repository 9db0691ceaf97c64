import dataclasses
import itertools

import pytest

from benchmarks.menagerie.scene import (
    CHOICES,
    SPECIES,
    TEST_SEEDS,
    TRAIN_SEEDS,
    VALIDATION_SEEDS,
    Scene,
    sample_scene,
)

PINNED = {
    0: Scene(
        species="squirrel",
        coat="natural",
        place="sunset",
        prop="house",
        worn="sweater",
        worn_color="blue",
        prop_color="blue",
        style="photo",
        heading=36.509081788,
        head_turn=24.011189187,
        gait=0.236737993,
        tail_raise=-0.498987317,
        tail_sway=0.819492512,
        elevation=14.810640236,
        distance=3.586130342,
        pan=0.096519828,
        light_azimuth=-24.680815988,
        light_elevation=55.515961958,
        prop_side=0.733285629,
        prop_depth=0.980560966,
        tint=-0.131656329,
        texture=428820,
    ),
    1: Scene(
        species="dog",
        coat="natural",
        place="street",
        prop="rock",
        worn="scarf",
        worn_color="red",
        prop_color="green",
        style="photo",
        heading=155.570952011,
        head_turn=27.609429676,
        gait=-0.134465864,
        tail_raise=0.524560165,
        tail_sway=-0.995787893,
        elevation=8.899259135,
        distance=3.532924019,
        pan=-0.065097067,
        light_azimuth=57.885190422,
        light_elevation=59.634258983,
        prop_side=-0.463393267,
        prop_depth=1.419636908,
        tint=-0.981590123,
        texture=799443,
    ),
    850000: Scene(
        species="tiger",
        coat="pink",
        place="beach",
        prop="none",
        worn="scarf",
        worn_color="yellow",
        prop_color="green",
        style="photo",
        heading=170.219857762,
        head_turn=29.035915086,
        gait=-0.992198131,
        tail_raise=0.22979383,
        tail_sway=-0.94747433,
        elevation=9.744881195,
        distance=3.683230889,
        pan=0.035243548,
        light_azimuth=-12.851746457,
        light_elevation=43.818476931,
        prop_side=0.546194475,
        prop_depth=1.01988179,
        tint=0.434488789,
        texture=325553,
    ),
}


@pytest.mark.parametrize("seed", PINNED)
def test_scenes_are_pinned(seed: int) -> None:
    drawn, pinned = (dataclasses.asdict(s) for s in (sample_scene(seed), PINNED[seed]))
    assert drawn == pytest.approx(pinned)
    assert sample_scene(seed) == sample_scene(seed)


def test_every_choice_is_drawn() -> None:
    drawn = [sample_scene(seed) for seed in range(400)]
    assert len(set(drawn)) == len(drawn)
    for name, choices in CHOICES.items():
        assert {getattr(scene, name) for scene in drawn} == set(choices)


@pytest.mark.parametrize("species", SPECIES)
def test_fixing_the_species_keeps_the_rest_as_drawn(species: str) -> None:
    for seed in range(20):
        free, fixed = sample_scene(seed), sample_scene(seed, species=species)
        assert fixed.species == species
        assert fixed == free.replace(species=species)


def test_replace_keeps_everything_else() -> None:
    scene = sample_scene(5)
    changed = dataclasses.asdict(scene.replace(species="pig", worn="hat"))
    kept = dataclasses.asdict(scene)
    assert changed.pop("species") == "pig"
    assert changed.pop("worn") == "hat"
    del kept["species"], kept["worn"]
    assert changed == kept


@pytest.mark.parametrize("name", CHOICES)
def test_an_unknown_value_is_refused_and_the_choices_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}='unicorn'") as error:
        Scene(**{name: "unicorn"})
    for choice in CHOICES[name]:
        assert choice in str(error.value)


def test_the_splits_are_disjoint_and_end_where_they_must() -> None:
    splits = sorted((TRAIN_SEEDS, VALIDATION_SEEDS, TEST_SEEDS), key=lambda split: split.start)
    assert all(split.step == 1 and len(split) > 0 for split in splits)
    assert splits[0].start == 0
    for split, following in itertools.pairwise(splits):
        assert split.stop == following.start
    assert splits[-1] is TEST_SEEDS
    assert TEST_SEEDS.stop == 900_000
    assert VALIDATION_SEEDS == range(800_000, 850_000)
