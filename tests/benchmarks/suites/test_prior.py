"""The study of the embedded model."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.suites.base import Study, Suite
from benchmarks.suites.prior import PriorStudy
from editing.errors import UserError
from tests.benchmarks.suites.conftest import settings_of


def test_the_figures_are_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = PriorStudy(scenes=4, samples=2, pairs=4)
    assert isinstance(study, Study) and not isinstance(study, Suite)
    study.study(settings_of(), SimpleNamespace(folder=EMBEDDED), tmp_path)
    found = json.loads((tmp_path / "prior.json").read_text())
    printed = capsys.readouterr().out
    for what in ("VAE reconstruction PSNR", "segmenter IoU on renders", "2 samples"):
        assert found[what] and f"{what} " in printed
    assert Image.open(tmp_path / "samples.png").width > 64


@pytest.mark.parametrize("own", [True, False])
def test_other_models_are_refused(tmp_path: Path, own: bool) -> None:
    with pytest.raises(UserError, match="suite=prior measures models that"):
        folder = tmp_path if own else None
        PriorStudy().study(settings_of(), SimpleNamespace(folder=folder), tmp_path)
