"""The plugin of nerfstudio: found through its entry point, and absent without nerfstudio."""

import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.editing.parameters.test_readers import write_nerfstudio

GROUP = "nerfstudio.method_configs"


def test_nerfstudio_finds_the_plugin() -> None:
    (found,) = entry_points(group=GROUP, name="ids-editing")
    assert found.value == "editing.nerfstudio:method"


def test_nothing_is_imported_without_it() -> None:
    code = (
        "import sys, editing.run, editing.scenes, editing.distillers; "
        "assert not [name for name in sys.modules if name.split('.')[0] == 'nerfstudio']; "
        "assert 'editing.nerfstudio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(find_spec("nerfstudio") is None, reason="needs pip install nerfstudio")
@pytest.mark.parametrize("method", ["ids", "pds"])
def test_a_scene_is_edited_inside_nerfstudio(method: str, tmp_path: Path, tiny_sd: Path) -> None:
    """nerfacto in torch, on the CPU: steps of training, then steps of an edit."""
    from nerfstudio.scripts.train import main

    from editing.nerfstudio import EditingPipeline, EditingPipelineConfig
    from editing.nerfstudio import method as specification

    write_nerfstudio(tmp_path / "scene")
    config: Any = specification.config
    pipeline: EditingPipelineConfig = config.pipeline
    pipeline.target, pipeline.source, pipeline.prior = "a pig", "a cat", str(tiny_sd)
    pipeline.method, pipeline.reconstruct, pipeline.size = method, 2, 32
    model: Any = pipeline.model
    model.implementation, model.num_levels, model.log2_hashmap_size = "torch", 2, 8
    config.data = tmp_path / "scene"
    config.output_dir, config.vis, config.machine.device_type = (
        tmp_path / "out",
        "tensorboard",
        "cpu",
    )
    config.max_num_iterations, config.machine.num_devices = 4, 1
    losses: list[dict[str, Any]] = []
    plain = EditingPipeline.get_train_loss_dict

    def watched(self: Any, step: int) -> Any:
        made = plain(self, step)
        losses.append(made[1])
        return made

    class NoDownload(torch.nn.Module):
        def __init__(self, **options: Any) -> None:
            super().__init__()

    with pytest.MonkeyPatch.context() as patch:
        lpips = "torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity"
        patch.setattr(lpips, NoDownload)  # its weights are nerfstudio's, for evaluation
        patch.setattr(EditingPipeline, "get_train_loss_dict", watched)
        main(config)
    assert ["distillation" in loss for loss in losses] == [False, False, True, True]
    assert all(torch.isfinite(loss["distillation"]) for loss in losses[2:])
    (kept,) = (tmp_path / "out").rglob("step-*.ckpt")
    names = torch.load(kept, weights_only=False)["pipeline"]
    assert not [name for name in names if "unet" in name or "vae" in name]


@pytest.mark.skipif(find_spec("nerfstudio") is None, reason="needs pip install nerfstudio")
def test_a_view_is_where_its_picture_is(tmp_path: Path) -> None:
    """What is sampled of a picture is what the rays of the grid see."""
    from editing.nerfstudio import EditingPipeline

    class Camera:
        width, height = 60, 40

    class Dataset:
        cameras = (Camera(),)

        def get_image_float32(self, row: int) -> torch.Tensor:
            y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(60) + 0.5, indexing="ij")
            return torch.stack([y / 60, x / 60, 0 * x], -1)

    class Manager:
        train_dataset = Dataset()

    class Stub(EditingPipeline):
        device = torch.device("cpu")

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.datamanager, self.shape = Manager(), (20, 8)

    height, width, where = Stub().grid(0)
    assert (width, height) == (24, 20)
    picture = Stub().picture(0)[0, :2].permute(1, 2, 0) * 60
    inside = slice(2, -2)
    torch.testing.assert_close(picture[inside, inside], where[inside, inside], atol=0.6, rtol=0)
