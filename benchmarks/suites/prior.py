"""How good the embedded model itself is, before any editing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.menagerie.evaluate import Options, evaluate
from editing.errors import UserError
from editing.results import to_json, write
from editing.settings import Settings


@dataclass(eq=False)
class PriorStudy:
    """The figures of the model card; see `benchmarks.menagerie.evaluate`.

    Attributes:
        scenes: held-out scenes.
        samples: generated pictures, at most `scenes`; 0 for none.
        pairs: pictures and captions of the retrieval; 0 for none.
    """

    scenes: int = 200
    samples: int = 200
    pairs: int = 1000

    def study(self, settings: Settings, prior: Any, output: Path, command: str = "") -> None:
        """Prints the figures; writes them to `prior.json`, and samples to `samples.png`.

        Raises:
            UserError: the prior is no model of the Menagerie.
        """
        folder = prior.folder
        if folder is None or not (folder / "segmenter").is_dir():
            raise UserError("suite=prior measures models that benchmarks.menagerie.train has made.")
        grid = str(output / "samples.png")
        found = evaluate(Options(str(folder), self.scenes, self.samples, self.pairs, grid))
        write(output / "prior.json", to_json({**found, "command": command}))
