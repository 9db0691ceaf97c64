import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.menagerie.scene import STYLES, Scene
from benchmarks.menagerie.styles import brush

BRUSHED = ("painting", "watercolor")


def picture(size: int = 64) -> Float[Tensor, "1 3 S S"]:
    """Colours that change slowly, so that every size shows the same."""
    line = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y, 1 - x])[None]


@pytest.mark.parametrize("style", sorted(set(STYLES) - set(BRUSHED)))
def test_other_styles_are_left_alone(style: str) -> None:
    assert torch.equal(brush(picture(), [Scene(style=style)]), picture())


@pytest.mark.parametrize("style", BRUSHED)
def test_a_style_depends_on_its_own_scene_only(style: str) -> None:
    scenes = [Scene(), Scene(style=style, texture=3), Scene(style=style, texture=4)]
    together = brush(picture().expand(3, -1, -1, -1), scenes)
    for made, scene in zip(together, scenes, strict=True):
        assert torch.equal(made, brush(picture(), [scene])[0])
    assert not torch.equal(together[1], together[2])
    assert together.min() >= 0 and together.max() <= 1


@pytest.mark.parametrize("style", BRUSHED)
def test_a_style_looks_the_same_at_every_size(style: str) -> None:
    small, large = (brush(picture(size), [Scene(style=style)]) for size in (64, 128))
    halved = torch.nn.functional.avg_pool2d(large, 2)
    assert (small - halved).abs().mean() < 0.02


def test_a_painting_is_vivid_and_a_watercolor_ends_in_white_paper() -> None:
    painted, washed = (brush(picture(), [Scene(style=style)])[0] for style in BRUSHED)

    def saturation(image: Tensor) -> Tensor:
        return (image.amax(0) - image.amin(0))[8:-8, 8:-8].mean()

    plain = picture()[0]
    assert saturation(painted) > 1.1 * saturation(plain) > 1.1 * saturation(washed)
    assert washed[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean() > 0.9
    assert washed[:, 8:-8, 8:-8].mean() > plain[:, 8:-8, 8:-8].mean() + 0.05
