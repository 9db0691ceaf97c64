"""The embedded model's text side: other words, orders, articles and numbers mean the same."""

import itertools

import pytest
import torch

from benchmarks.menagerie.captions import SYNONYMS
from benchmarks.menagerie.scene import PLACES, SPECIES
from benchmarks.menagerie.stages import EMBEDDED
from editing.caption import Clip

PAIRS = list(itertools.product(SPECIES, PLACES))


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip(EMBEDDED)


@torch.no_grad()
def share_right(clip: Clip, asked: list[str], plain: list[str]) -> float:
    """How often the plain sentence nearest to an asked one is that of the same index."""
    scores = clip.embed_texts(asked) @ clip.embed_texts(plain).T
    return float((scores.argmax(1) == torch.arange(len(asked))).float().mean())


@pytest.mark.parametrize(
    "way", ["the {}", "{}", "{}s", "the {}s", "a photo of {}", "an image of the {}", "A {}!"]
)
def test_articles_and_numbers_do_not_matter(clip: Clip, way: str) -> None:
    plain = [f"a photo of a {species}" for species in SPECIES]
    assert share_right(clip, [way.format(species) for species in SPECIES], plain) == 1


def test_synonyms_mean_the_same(clip: Clip) -> None:
    for names, sentence in ((SPECIES, "a photo of a {}"), (PLACES, "a photo of a cat {}")):
        plain = [sentence.format(SYNONYMS[name][0]) for name in names]
        for place in range(max(len(SYNONYMS[name]) for name in names)):
            ways = [SYNONYMS[name][place % len(SYNONYMS[name])] for name in names]
            assert share_right(clip, [sentence.format(way) for way in ways], plain) == 1, ways


@pytest.mark.parametrize(
    "way",
    [
        "{place}, a {species} with a red hat",
        "a {species} {place} with a red hat",
        "a {species} {place} wearing a red hat",
        "the {species} with a red hat {place}",
        "{place} a {species} in a red hat",
    ],
)
def test_the_order_of_words_does_not_matter(clip: Clip, way: str) -> None:
    plain = [f"a photo of a {s} with a red hat {SYNONYMS[p][0]}" for s, p in PAIRS]
    asked = [way.format(species=s, place=SYNONYMS[p][0]) for s, p in PAIRS]
    assert share_right(clip, asked, plain) > 0.95
