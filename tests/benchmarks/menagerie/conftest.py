"""Renders shared by the Menagerie's tests."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benchmarks.menagerie import dataset
from benchmarks.menagerie.render import Rendering, render
from benchmarks.menagerie.scene import Scene, sample_scene


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    """The first 32 training scenes."""
    return [sample_scene(seed) for seed in range(32)]


@pytest.fixture(scope="session")
def renderings(scenes: list[Scene]) -> list[Rendering]:
    """Each of `scenes` alone, at 32 pixels."""
    return [render([scene], 32) for scene in scenes]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two scenes, rendered by threads: processes take seconds to start."""

    def threads(workers: int, mp_context: Any) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr(dataset, "SHARD", 2)
    monkeypatch.setattr(dataset, "ProcessPoolExecutor", threads)
