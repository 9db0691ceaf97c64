"""Draws the contact sheet of the README: one scene per column, one species per row.

python -m benchmarks.menagerie.sheet out=docs/menagerie.png
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torchvision.utils import make_grid

from benchmarks import options
from benchmarks.menagerie.dataset import png
from benchmarks.menagerie.render import render
from benchmarks.menagerie.scene import SPECIES, TEST_SEEDS, sample_scene
from editing.results import write


@dataclass
class Options:
    out: str = "menagerie.png"
    scenes: int = 8
    first_seed: int = TEST_SEEDS[0]
    size: int = 96


def main(argv: list[str] | None = None) -> None:
    opts = options.read(Options, __doc__, argv)
    scenes = [sample_scene(opts.first_seed + column) for column in range(opts.scenes)]
    rows = [[scene.replace(species=name, coat="natural") for scene in scenes] for name in SPECIES]
    pictures = torch.cat([render(row, opts.size).image for row in rows])
    sheet = make_grid(pictures, nrow=opts.scenes, padding=1)
    write(Path(opts.out), png(sheet))


if __name__ == "__main__":
    main()
