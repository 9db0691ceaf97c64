"""A list of pictures with their prompts, or InstructPix2Pix's own folders."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.suites.base import Case, several
from benchmarks.suites.pictures import PictureSuite
from editing.errors import UserError
from editing.images import looks_like_picture, natural_key
from editing.jobs import find_jobs, read_jobs
from editing.paths import expanded
from editing.results import slug


def unique(names: list[str]) -> list[str]:
    """Names with numbers behind those that come again."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return made


@dataclass(eq=False, kw_only=True)
class IP2P(PictureSuite):
    """Pictures, and what each shows before and after the edit.

    Attributes:
        src: a CSV or JSONL file with `src`, `source` and `target` in every line; or a folder in the
            layout of the InstructPix2Pix data set: a folder for each pair of prompts, with
            `prompt.json` (`input`, `output`) and pictures of the source named `*_0.jpg`; beside
            them its own edits, `*_1.jpg`, are the references of `dinov2_direction`.
    """

    src: str

    name = "ip2p"

    def make_cases(self) -> list[Case]:
        folder = expanded(self.src)
        edits = list(_folders(folder)) if folder.is_dir() else list(_lines(self.src))
        names = unique([f"{slug(path.stem)}-{slug(prompts[1])}" for path, prompts in edits])
        pairs = zip(names, edits, strict=True)
        made = []
        for name, (path, prompts) in pairs:
            other = reference_of(path) if folder.is_dir() else None
            digest = hashlib.sha256(other.read_bytes()).hexdigest() if other else ""
            made.append(self.picture_case(name, path, prompts, identity={"reference": digest}))
        return self.checked(made)

    def reference(self, case: Case) -> Path | None:
        """The data set's own edit."""
        return reference_of(case.about) if case.identity["reference"] else None


def reference_of(path: Path) -> Path | None:
    """`123_1.jpg` for `123_0.jpg`, if there is such a file."""
    stem = path.stem.removesuffix("_0")
    other = path.with_name(f"{stem}_1{path.suffix}")
    return other if stem != path.stem and other.is_file() else None


def _lines(src: str) -> Iterator[tuple[Path, tuple[str, str]]]:
    for job in read_jobs(src):
        if job.source is None:
            raise UserError(f"{src} has no source for {job.path.name}: say what it shows.")
        yield job.path, (job.source, job.target)


def _folders(folder: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    """The first picture of every pair of prompts."""
    found = False
    for path in sorted(folder.glob("*/prompt.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            prompts = str(said["input"]), str(said["output"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} does not have the prompts input and output.") from error
        pictures = (each for each in path.parent.glob("*_0.*") if looks_like_picture(each))
        found = True
        # one that is missing fails its own case, when it is loaded
        yield min(pictures, key=natural_key, default=path.parent / "*_0.jpg"), prompts
    if not found:
        raise UserError(f"{folder} has no folders with a prompt.json.")


@dataclass(eq=False, kw_only=True)
class RealCats(PictureSuite):
    """Cat-to-Others on pictures of one's own: each becomes every target.

    Attributes:
        src: a picture, a folder or a glob.
        source: what the pictures show.
        targets: what they become.
    """

    src: str
    source: str = "a cat"
    targets: Sequence[str] = (
        "a dog",
        "a pig",
        "a cow",
        "a lion",
        "a tiger",
        "a squirrel",
        "a penguin",
    )

    name = "real_cats"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.targets = several(self.targets)

    def make_cases(self) -> list[Case]:
        jobs = [job for target in self.targets for job in find_jobs(self.src, target, self.source)]
        jobs.sort(key=lambda job: job.path)
        names = unique([f"{slug(job.path.stem)}-{slug(job.target)}" for job in jobs])
        pairs = zip(names, jobs, strict=True)
        made = [self.picture_case(n, job.path, (self.source, job.target)) for n, job in pairs]
        return self.checked(made)
