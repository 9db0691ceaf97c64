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
        place="night",
        prop="house",
        worn="scarf",
        worn_color="yellow",
        prop_color="blue",
        style="photo",
        heading=36.509081788,
        head_turn=2.682702998,
        gait=0.511608408,
        tail_raise=0.236737993,
        tail_sway=-0.498987317,
        elevation=14.007208816,
        distance=3.687949833,
        pan=0.074452137,
        light_azimuth=52.281573557,
        light_elevation=45.443541664,
        prop_side=-0.989302973,
        prop_depth=1.447187146,
        tint=-0.055714569,
        texture=211185,
    ),
    1: Scene(
        species="dog",
        coat="natural",
        place="snow",
        prop="rock",
        worn="hat",
        worn_color="blue",
        prop_color="red",
        style="photo",
        heading=155.570952011,
        head_turn=30.199266915,
        gait=-0.220382386,
        tail_raise=0.214875993,
        tail_sway=0.534315258,
        elevation=11.654161534,
        distance=3.186431392,
        pan=0.072438328,
        light_azimuth=11.84994655,
        light_elevation=40.453451795,
        prop_side=0.46835399,
        prop_depth=0.920356689,
        tint=0.082824946,
        texture=799443,
    ),
    850000: Scene(
        species="tiger",
        coat="black",
        place="meadow",
        prop="none",
        worn="scarf",
        worn_color="blue",
        prop_color="yellow",
        style="photo",
        heading=170.219857762,
        head_turn=4.933201328,
        gait=0.697443977,
        tail_raise=0.130170354,
        tail_sway=0.721770451,
        elevation=4.297770051,
        distance=3.168881843,
        pan=-0.027015719,
        light_azimuth=44.998333694,
        light_elevation=54.558948381,
        prop_side=0.62536651,
        prop_depth=1.478886009,
        tint=0.810330357,
        texture=94857,
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
