"""What a suite is: cases to edit, and how the edits are measured."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from editing.editor import Edit, Editor
from editing.settings import Settings
from samplers.prior import PromptPair

Measures = dict[str, float]  # by metric; NaN where there is nothing to measure
EDITS = "edits"  # folder of the rows of a study, inside its own
REFERENCES = ("source", "exact answer")  # what is measured beside the edits


class CaseError(Exception):
    """What is wrong with one case alone, such as a picture that cannot be read; others go on."""


@dataclass(frozen=True)
class Case:
    """One edit to be made.

    Attributes:
        name: what the case is called, unique in its suite; letters, digits and dashes.
        prompts: what the source shows, and what the edit shall show.
        identity: all that determines the pictures of the case, for the hash of its result. JSON.
        group: kind of edit, for suites whose tables have a part for each.
        size: height and width of the picture; cases of a batch have the same.
        about: what the suite itself wants to know.
        cluster: of the cases that are not independent, such as edits of one picture; by default
            every case is alone.
    """

    name: str
    prompts: tuple[str, str]
    identity: Mapping[str, Any]
    group: str = ""
    size: tuple[int, int] = (64, 64)
    about: Any = field(default=None, compare=False)
    cluster: str = ""

    @property
    def index(self) -> int:
        """Of its random numbers: the same however many cases there are, and in any order."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Pictures:
    """What a batch of cases looks like.

    Attributes:
        source: in [0, 1].
        answer: the exact answer, where there is one.
        masks: regions that the suite's metrics need, by name, in [0, 1].
    """

    source: Float[Tensor, "B 3 H W"]
    answer: Float[Tensor, "B 3 H W"] | None = None
    masks: Mapping[str, Float[Tensor, "B 1 H W"]] = field(default_factory=dict)


def several(value: Any) -> list[Any]:
    """The values of an option that takes several; one alone may stand without brackets."""
    return [value] if isinstance(value, str | int) else list(value)


def shown(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Pictures in [0, 1] as a file of 8 bits has them."""
    return (x.clamp(0, 1) * 255).round() / 255


@runtime_checkable
class Suite(Protocol):
    """Cases, and what is measured of them. Small to make: models are loaded when first used."""

    @property
    def name(self) -> str:
        """As in `suite=NAME`."""
        ...

    @property
    def metrics(self) -> Sequence[str]:
        """What `measure` returns, in the order of the table; see `benchmarks.metrics.COLUMNS`."""
        ...

    def make_cases(self) -> list[Case]:
        """All of them, always in the same order."""
        ...

    def load(self, cases: Sequence[Case]) -> Pictures:
        """The pictures of some cases of one size.

        Raises:
            CaseError: those of one of them cannot be had.
        """
        ...

    def measure(
        self, cases: Sequence[Case], pictures: Pictures, edited: Float[Tensor, "B 3 H W"]
    ) -> list[Measures]:
        """The metrics of every edit."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """What else determines the measurements, such as the digest of a judge. JSON."""
        ...


@runtime_checkable
class SceneSuite(Suite, Protocol):
    """A suite whose cases are no pictures for the editor: it hands them over itself."""

    def edit(self, editor: Editor, cases: Sequence[Case], prompts: PromptPair, seed: int) -> Edit:
        """The edits of some cases, as pictures like those of `load`; for all of them together."""
        ...


@runtime_checkable
class Study(Protocol):
    """A suite that is no list of cases: it measures something else of a method or its prior."""

    def study(self, settings: Settings, prior: Any, output: Path, command: str = "") -> None:
        """Measures, prints, and writes what it found and the `command` to `output`."""
        ...
