"""Renders of the Menagerie on disk: shards to train on, and many views of one scene for 3D methods.

    python -m benchmarks.menagerie.dataset shards  --out DIR --count 16000
    python -m benchmarks.menagerie.dataset views   --out DIR --seed 850000 --species cat
"""

import argparse
import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.utils import save_image
from tqdm import tqdm

from benchmarks.menagerie.render import FIELD_OF_VIEW, camera_to_world, render
from benchmarks.menagerie.scene import Scene, sample_scene

SHARD = 250  # scenes in a file


def write(path: Path, save: Callable[[str], None]) -> None:
    """Calls `save(name)` with a temporary name beside `path`, then renames: a file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
    os.close(handle)
    try:
        save(name)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def to_uint8(x: Tensor) -> Tensor:
    """[0, 1] to 0..255, rounded."""
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def draw(scenes: Sequence[Scene], size: int, batch: int = 4) -> dict[str, Tensor]:
    """Pictures (N, 3, S, S) and masks `animal`, `worn`, `prop` (N, 1, S, S) of the scenes, all uint8.

    On a CPU small batches stay in the cache and are the fastest.
    """
    drawn = [render(list(scenes[i : i + batch]), size) for i in range(0, len(scenes), batch)]
    names = ("image", "animal", "worn", "prop")
    return {name: torch.cat([to_uint8(getattr(r, name)) for r in drawn]).contiguous() for name in names}


def _shard(path: Path, first: int, size: int) -> None:
    torch.set_num_threads(1)
    made = draw([sample_scene(seed) for seed in range(first, first + SHARD)], size)
    write(path, lambda name: save_file(made, name))


def shards(out: Path, count: int, size: int, first_seed: int = 0, workers: int = 1) -> list[Path]:
    """Renders the scenes `first_seed .. first_seed + count` into shards; those already there are kept."""
    jobs = [(out / f"{size}px-{first:07d}.safetensors", first) for first in range(first_seed, first_seed + count, SHARD)]
    missing = [(path, first) for path, first in jobs if not path.exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_shard, path, first, size) for path, first in missing]
        for future in tqdm(as_completed(futures), total=len(futures), unit="shard", disable=not futures):
            future.result()
    return [path for path, _ in jobs]


def load_shards(folder: Path, size: int, limit: int | None = None) -> dict[str, Tensor]:
    """All shards of `folder` in seed order, concatenated, with their `seed` (N,) int64."""
    paths = sorted(folder.glob(f"{size}px-*.safetensors"))[: limit and math.ceil(limit / SHARD)]
    if not paths:
        raise FileNotFoundError(f"No {size}-pixel shards in {folder}: render them first.")
    parts = [load_file(path) for path in paths]
    data = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    first = [int(path.stem.split("-")[1]) for path in paths]
    data["seed"] = torch.cat([torch.arange(f, f + len(p["image"])) for f, p in zip(first, parts, strict=True)])
    return data


def views(scene: Scene, out: Path, count: int, size: int, arc: float = 360.0) -> None:
    """Writes `count` views around a scene in Blender's `transforms.json` format (Synthetic NeRF).

    Each frame has `file_path` (without suffix), `transform_matrix` (camera to world, OpenGL), and beside its picture
    `*_mask.png` (the animal) and `*_depth.safetensors` (body lengths along the ray).
    """
    frames = []
    for i in range(count):
        azimuth = arc * (i / count - (0.5 if arc < 360 else 0.0))
        elevation = 16 + 12 * math.sin(2.399963 * i)
        pose = camera_to_world(scene, azimuth, elevation)
        made = render([scene], size, pose[None])
        stem = f"r_{i:03d}"
        for name, image in ((f"{stem}.png", made.image), (f"{stem}_mask.png", made.animal)):
            write(out / "images" / name, lambda temporary, image=image: save_image(image, temporary))  # type: ignore[misc]
        depth = {"depth": made.depth[0, 0].contiguous()}
        write(out / "images" / f"{stem}_depth.safetensors", lambda name, d=depth: save_file(d, name))  # type: ignore[misc]
        frames.append({"file_path": f"./images/{stem}", "transform_matrix": pose.tolist()})
    transforms = {"camera_angle_x": math.radians(FIELD_OF_VIEW), "w": size, "h": size, "frames": frames}
    write(out / "transforms.json", lambda name: Path(name).write_text(json.dumps(transforms, indent=1)) and None)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command = parser.add_subparsers(dest="command", required=True)
    s = command.add_parser("shards", help="scenes to train on")
    s.add_argument("--count", type=int, default=16_000)
    s.add_argument("--first-seed", type=int, default=0)
    s.add_argument("--workers", type=int, default=1)
    v = command.add_parser("views", help="many views of one scene, with camera poses")
    v.add_argument("--seed", type=int, required=True)
    v.add_argument("--species", help="replaces the species the seed draws")
    v.add_argument("--count", type=int, default=24)
    v.add_argument("--arc", type=float, default=360.0, help="degrees around the scene")
    for p in (s, v):
        p.add_argument("--out", type=Path, required=True)
        p.add_argument("--size", type=int, default=64)
    args = parser.parse_args(argv)
    if args.command == "shards":
        shards(args.out, args.count, args.size, args.first_seed, args.workers)
    else:
        scene = sample_scene(args.seed)
        views(scene.replace(species=args.species) if args.species else scene, args.out, args.count, args.size, args.arc)


if __name__ == "__main__":
    main()
