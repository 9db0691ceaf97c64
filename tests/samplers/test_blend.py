"""Masks from maps that are made by hand."""

import pytest
import torch

from samplers.blend import WordMaps, grid


def test_a_mask_is_where_the_words_are_seen() -> None:
    """Of three tokens the words are the last two; two heads and two layers are added up."""
    words = torch.tensor([[0.0, 1, 1], [0, 1, 1]])
    probabilities = torch.zeros(2, 2, 16 * 8, 3)
    place = probabilities.unflatten(2, (16, 8))
    place[0, :, 3, 5, 1] = 0.5
    place[0, 0, 10, 2, 2] = 0.4  # of one head: 0.4 of 1.0
    place[0, 1, 8, 0, 2] = 0.2  # below the threshold
    place[0, :, 12, 6, 0] = 1.0  # of another token
    place[1, :, 0, 0, 1] = 0.01  # each row has a maximum of its own
    maps = WordMaps(words)
    maps.add(probabilities / 2)
    maps.add(probabilities / 2)
    maps.add(torch.rand(2, 2, 8 * 4, 3))  # far from 16 x 16
    mask = maps.mask(32, 16, threshold=0.3)
    expected = torch.zeros(2, 1, 32, 16, dtype=torch.bool)
    expected[0, 0, 4:10, 8:14] = True  # one place more on every side, and twice as large
    expected[0, 0, 18:24, 2:8] = True
    expected[1, 0, :4, :4] = True
    assert torch.equal(mask, expected)


@pytest.mark.parametrize(("side", "wide"), [(8, 1), (16, 3), (32, 5)])
def test_maps_spread_by_a_sixteenth_of_the_picture(side: int, wide: int) -> None:
    probabilities = torch.zeros(1, 1, side * side, 1)
    probabilities[0, 0, side * side // 2 + side // 2] = 1
    maps = WordMaps(torch.ones(1, 1))
    maps.add(probabilities)
    assert maps.mask(side, side, threshold=0.3).sum() == wide**2


@pytest.mark.parametrize(
    ("places", "size"),
    [(64 * 96, (64, 96)), (32 * 48, (32, 48)), (16 * 24, (16, 24)), (1, (1, 1))],
)
def test_places_are_levels_of_the_unet(places: int, size: tuple[int, int]) -> None:
    assert grid(places, 64, 96) == size if places > 1 else grid(places, 64, 64) == size


def test_odd_latents_are_halved_upwards() -> None:
    assert grid(5 * 3, 9, 6) == (5, 3)
    with pytest.raises(ValueError, match="no level"):
        grid(7, 9, 6)
