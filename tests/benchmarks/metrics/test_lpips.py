"""LPIPS with a random backbone, and the distance of the Menagerie's own network."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import lpips
import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.menagerie.classifier import AttributeClassifier
from benchmarks.metrics.lpips import LPIPS, MenagerieDistance, load_lpips, menagerie_distance
from editing.errors import UserError


def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_pictures_in_0_to_1_are_what_the_network_gets() -> None:
    torch.manual_seed(0)
    network = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False).eval()
    x, y = pictures()
    metric = LPIPS(network=network)
    metric.update(x, y)
    metric.update(x[:1], y[:1])
    with torch.no_grad():
        each = network(2 * x - 1, 2 * y - 1).flatten()
    assert metric.compute() == pytest.approx(float((each.sum() + each[0]) / 4))
    assert metric.values(x, x).abs().max() == 0


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_a_missing_backbone_is_named_with_its_path(
    net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: Any, **named: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(UserError, match=rf"backbone {net}.*put .*\.pth .* at {tmp_path}"):
        load_lpips(net)


def test_the_menageries_distance_by_hand() -> None:
    torch.manual_seed(0)
    judge = AttributeClassifier((8, 8)).eval()
    x, y = pictures()
    found = menagerie_distance(judge, x, y).detach()
    expected = np.zeros(3)
    for depth in (3, 6):
        layers = nn.Sequential(*list(judge.trunk)[:depth])
        a, b = (layers(2 * p - 1).detach().double().numpy() for p in (x, y))
        for i in range(3):
            for place in np.ndindex(*a.shape[2:]):
                u, v = a[i][:, *place], b[i][:, *place]
                change = u / np.linalg.norm(u) - v / np.linalg.norm(v)
                expected[i] += (change**2).sum() / a[0, 0].size
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_the_mean_of_the_menageries_distance() -> None:
    x, y = pictures()
    metric = MenagerieDistance()
    metric.update(x, y)
    each = menagerie_distance(metric.judge, x, y)
    assert float(metric.compute()) == pytest.approx(float(each.mean()), rel=1e-5)


def test_the_menageries_distance_grows_with_the_difference() -> None:
    torch.manual_seed(0)
    judge, (x, y) = AttributeClassifier().eval(), pictures()
    near, far = (menagerie_distance(judge, x, torch.lerp(x, y, w)) for w in (0.1, 0.5))
    assert (menagerie_distance(judge, x, x) == 0).all() and (near < far).all()
