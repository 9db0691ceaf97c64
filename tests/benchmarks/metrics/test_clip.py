"""Scores by embeddings, against numpy."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.metrics.clip import ClipScore, DirectionalScore, clip_score, directional_score


def vectors(count: int) -> Tensor:
    return torch.randn(count, 3, 8, generator=torch.Generator().manual_seed(0))


def cosine(a: Tensor, b: Tensor) -> list[float]:
    x, y = a.double().numpy(), b.double().numpy()
    return ((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).tolist()


class Embeds:
    """Pictures by their mean colour, texts by their letters."""

    def embed_images(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(text.count(c)) for c in "rgb"] for text in texts])


def test_the_text_score_is_100_cosines_and_never_negative() -> None:
    images, texts = vectors(2)
    expected = [100 * max(0.0, c) for c in cosine(images, texts)]
    assert clip_score(images, texts).tolist() == pytest.approx(expected, abs=1e-4)
    assert clip_score(images, -images).tolist() == [0, 0, 0]


def test_the_direction_is_that_of_the_changes() -> None:
    a, b, s, t = vectors(4)
    assert directional_score(a, b, s, t).tolist() == pytest.approx(cosine(b - a, t - s), abs=1e-5)
    assert directional_score(a, a, s, t).isnan().all(), "nothing changed"
    assert directional_score(a, b, s, s).isnan().all(), "nothing was asked for"


def test_metrics_embed_and_average() -> None:
    red, blue = torch.zeros(2, 1, 3, 4, 4)
    red[:, 0], blue[:, 2] = 1, 1
    score = ClipScore(Embeds())
    score.update(torch.cat([red, blue]), ["r", "r"])
    assert score.compute() == pytest.approx(50)
    direction = DirectionalScore(Embeds())
    direction.update(torch.cat([red, red]), torch.cat([blue, red]), ["r", "r"], ["b", "b"])
    assert direction.compute() == pytest.approx(1), "the picture that did not change has no value"
