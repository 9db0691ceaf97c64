"""Renders of the Menagerie on disk: shards to train on, and views of one scene for 3D methods.

python -m benchmarks.menagerie.dataset shards  --out DIR --count 16000
python -m benchmarks.menagerie.dataset views   --out DIR --seed 850000 --species cat
"""

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torchvision.utils import save_image
from tqdm import tqdm

from benchmarks.menagerie.render import FIELD_OF_VIEW, camera_to_world, render
from benchmarks.menagerie.scene import TRAIN_SEEDS, Number, Scene, sample_scene
from editing.results import to_json, write

SHARD = 250  # scenes in a file
WORLD = 2  # counts the versions of scenes and renderer, so that old shards are not taken for new


def to_uint8(x: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """[0, 1] to 0..255, rounded."""
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def draw(scenes: Sequence[Scene], size: int, batch: int = 4) -> dict[str, UInt8[Tensor, "N _ S S"]]:
    """Pictures `image` and masks `animal`, `worn`, `prop` of the scenes.

    On a CPU small batches stay in the cache and are the fastest.
    """
    drawn = [render(list(scenes[i : i + batch]), size) for i in range(0, len(scenes), batch)]
    return {
        name: torch.cat([to_uint8(getattr(r, name)) for r in drawn]).contiguous()
        for name in ("image", "animal", "worn", "prop")
    }


def shards(out: Path, count: int, size: int, first_seed: int = 0, workers: int = 1) -> list[Path]:
    """Renders the scenes `first_seed .. first_seed + count` into files of `SHARD` scenes.

    Those already there are kept. Returns all of them, in seed order.

    Raises:
        ValueError: these are not all seeds to train on.
    """
    if first_seed + count > TRAIN_SEEDS.stop:
        raise ValueError(f"Scenes to train on have seeds below {TRAIN_SEEDS.stop}: take fewer.")
    out.mkdir(parents=True, exist_ok=True)
    firsts = range(first_seed, first_seed + count, SHARD)
    jobs = [(out / f"world{WORLD}-{size}px-{first:07d}.safetensors", first) for first in firsts]
    missing = [(path, first) for path, first in jobs if not path.exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_shard, path, first, size) for path, first in missing]
        bar = tqdm(as_completed(futures), total=len(futures), unit="shard", disable=not futures)
        for future in bar:
            future.result()
    return [path for path, _ in jobs]


def _shard(path: Path, first: int, size: int) -> None:
    torch.set_num_threads(1)
    made = draw([sample_scene(seed) for seed in range(first, first + SHARD)], size)
    write(path, safetensors.torch.save(made))


def load_shards(
    folder: Path, size: int, limit: int | None = None
) -> dict[str, Shaped[Tensor, "N ..."]]:
    """All shards of `folder` in seed order, concatenated, with their `seed` (N,) int64.

    Args:
        folder: where `shards` wrote them.
        size: of the pictures, in pixels.
        limit: how many scenes to load, rounded up to whole shards.

    Raises:
        FileNotFoundError: there are none of this size.
    """
    paths = sorted(folder.glob(f"world{WORLD}-{size}px-*.safetensors"))
    paths = paths[: limit and math.ceil(limit / SHARD)]
    if not paths:
        raise FileNotFoundError(f"No {size}-pixel shards in {folder}: render them first.")
    parts = [safetensors.torch.load_file(path) for path in paths]
    data = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    firsts = [int(path.stem.split("-")[2]) for path in paths]
    data["seed"] = torch.cat(
        [torch.arange(f, f + len(p["image"])) for f, p in zip(firsts, parts, strict=True)]
    )
    return data


def poses_around(scene: Scene, count: int, arc: Number = 360.0) -> Float[Tensor, "V 4 4"]:
    """Camera-to-world poses of `count` views, `arc` degrees around the animal, up and down."""
    azimuths = [arc * (i / count - (0.5 if arc < 360 else 0.0)) for i in range(count)]
    elevations = [16 + 12 * math.sin(2.399963 * i) for i in range(count)]
    both = zip(azimuths, elevations, strict=True)
    return torch.stack([camera_to_world(scene, a, e) for a, e in both])


def views(scene: Scene, out: Path, count: int, size: int, arc: Number = 360.0) -> None:
    """Writes `count` views around a scene in Blender's `transforms.json` format (Synthetic NeRF).

    Each frame has `file_path` (without suffix) and `transform_matrix` (camera to world, OpenGL).
    Beside its picture are `*_mask.png` (the animal) and `*_depth.safetensors` (body lengths along
    the ray).
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    frames = []
    for i, pose in enumerate(poses_around(scene, count, arc)):
        made = render([scene], size, pose[None])
        stem = out / "images" / f"r_{i:03d}"
        write(stem.with_suffix(".png"), png(made.image))
        write(stem.with_name(f"{stem.name}_mask.png"), png(made.animal))
        depth = {"depth": made.depth[0, 0].contiguous()}
        write(stem.with_name(f"{stem.name}_depth.safetensors"), safetensors.torch.save(depth))
        frames.append({"file_path": f"./images/{stem.name}", "transform_matrix": pose.tolist()})
    transforms = {
        "camera_angle_x": math.radians(FIELD_OF_VIEW),
        "w": size,
        "h": size,
        "frames": frames,
    }
    write(out / "transforms.json", to_json(transforms))


def png(image: Float[Tensor, "*batch channels H W"]) -> bytes:
    """A picture in [0, 1] as a PNG file."""
    buffer = BytesIO()
    save_image(image, buffer, format="png")
    return buffer.getvalue()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        scene = scene.replace(species=args.species) if args.species else scene
        views(scene, args.out, args.count, args.size, args.arc)


if __name__ == "__main__":
    main()
