"""What a Menagerie picture shows: a few words and numbers, drawn from a seed.

Lengths are in body lengths (a cat from chest to rump is about 0.7), angles in degrees, y is up. The
animal stands at the origin and looks along +x; the camera looks at it along -z of its own frame.
"""

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

SPECIES = ("cat", "dog", "pig", "cow", "lion", "tiger", "squirrel", "penguin")
COATS = (
    "natural",
    "gray",
    "white",
    "black",
    "brown",
    "golden",
    "orange",
    "pink",
    "green",
    "blue",
    "purple",
    "spotted",
    "striped",
)
# The species whose own coat is one of the named ones. Of the others it has no name here.
OWN_COAT = {
    "cat": "gray",
    "dog": "brown",
    "pig": "pink",
    "cow": "white",
    "lion": "golden",
    "tiger": "orange",
    "penguin": "black",
}
PLACES = ("meadow", "beach", "room", "snow", "night", "desert", "forest", "street", "sunset")
PROPS = ("none", "tree", "ball", "house", "rock", "mushroom", "box")
WORN = ("none", "hat", "scarf", "sweater", "boots")
COLORS = ("red", "blue", "yellow", "green")
STYLES = ("photo", "drawing", "painting", "watercolor")

Number = float | int

# Who may draw which seeds. Those from the last bound on are never drawn by anything in this
# repository.
TRAIN_SEEDS = range(0, 800_000)
VALIDATION_SEEDS = range(800_000, 850_000)
TEST_SEEDS = range(850_000, 900_000)

CHOICES: dict[str, tuple[str, ...]] = {
    "species": SPECIES,
    "coat": COATS,
    "place": PLACES,
    "prop": PROPS,
    "worn": WORN,
    "worn_color": COLORS,
    "prop_color": COLORS,
    "style": STYLES,
}


@dataclass(frozen=True)
class Scene:
    """One scene. `replace` changes what is named and keeps the rest: the exact answer to an edit.

    Raises:
        ValueError: an attribute has a value that is not one of its `CHOICES`.
    """

    species: str = "cat"
    coat: str = "natural"  # "natural" is the species' own: a pink pig, a striped tiger
    place: str = "meadow"
    prop: str = "none"
    worn: str = "none"
    worn_color: str = "red"
    prop_color: str = "red"
    style: str = "photo"
    heading: Number = 20.0  # the animal's: 0 looks right, 90 at the camera, 180 left
    head_turn: Number = 0.0  # towards (+) or away from (-) the camera
    gait: Number = 0.0  # swing of the legs, -1..1
    tail_raise: Number = 0.0  # -1..1
    tail_sway: Number = 0.0  # -1..1
    azimuth: Number = 0.0  # of the camera, around the animal to its right; samples have 0
    elevation: Number = 10.0  # of the camera above the horizon
    distance: Number = 3.3  # of the camera from the animal
    pan: Number = 0.0  # where the camera aims, to the side of the animal, in body lengths
    light_azimuth: Number = 40.0  # 0 is from behind the camera, positive from its right
    light_elevation: Number = 50.0
    prop_side: Number = 1.0  # in body lengths to the right of the animal
    prop_depth: Number = 1.0  # in body lengths behind the animal
    tint: Number = 0.0  # varies the colours of coat, ground and sky, -1..1
    texture: int = 0  # seeds the noise of fur, ground and clouds

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(choices)}.")

    def replace(self, **changes: Any) -> "Scene":
        """The same scene with `changes`.

        `scene.replace(species="pig")` keeps pose, place, camera and light.
        """
        return dataclasses.replace(self, **changes)


def dyes(species: str) -> list[str]:
    """The coats that are not a species' own."""
    return [coat for coat in COATS[1:] if coat != OWN_COAT.get(species)]


def sample_scene(seed: int, **fixed: Any) -> Scene:
    """The scene of a seed.

    What is `fixed` (`species="cat"`) is set afterwards, so the rest stays as drawn.
    """
    rng = random.Random(seed)
    side = rng.choice((-1, 1))
    heading = rng.uniform(-12, 52)
    species = rng.choice(SPECIES)
    scene = Scene(
        species=species,
        coat="natural" if rng.random() < 0.5 else rng.choice(dyes(species)),
        place=rng.choice(PLACES),
        prop="none" if rng.random() < 0.35 else rng.choice(PROPS[1:]),
        worn="none" if rng.random() < 0.45 else rng.choice(WORN[1:]),
        worn_color=rng.choice(COLORS),
        prop_color=rng.choice(COLORS),
        style="photo" if rng.random() < 0.7 else rng.choice(STYLES[1:]),
        heading=heading if side > 0 else 180 - heading,
        head_turn=rng.uniform(-10, 35),
        gait=rng.uniform(-1, 1),
        tail_raise=rng.uniform(-1, 1),
        tail_sway=rng.uniform(-1, 1),
        elevation=rng.uniform(4, 15),
        distance=rng.uniform(3.1, 3.7),
        pan=rng.uniform(-0.12, 0.12),
        light_azimuth=rng.uniform(-65, 65),
        light_elevation=rng.uniform(38, 62),
        prop_side=rng.choice((-1, 1)) * rng.uniform(0.45, 1.05),
        prop_depth=rng.uniform(0.9, 1.7),
        tint=rng.uniform(-1, 1),
        texture=rng.randrange(1 << 20),
    )
    return scene.replace(**fixed) if fixed else scene
