"""Score distillation inside nerfstudio: `ns-train ids-editing`.

nerfstudio finds this module through an entry point; nothing else imports it, and it needs
`pip install nerfstudio`. A scene is first trained as ever (or loaded with `--load-dir`), then whole
views are rendered and moved by a distiller's loss instead of the difference to the pictures:

    ns-train nerfacto --data scene
    ns-train ids-editing --data scene --load-dir outputs/scene/nerfacto/.../nerfstudio_models \
        --pipeline.target "a photo of a clown" --pipeline.source "a photo of a man"
"""

import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.configs.method_configs import method_configs
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import editing
from editing.errors import UserError
from editing.images import fitted_size
from editing.sizes import fitting_size
from samplers.random import make_generators

NAME = "ids-editing"


@dataclass
class EditingPipelineConfig(VanillaPipelineConfig):
    """Options of the edit, beside those of nerfstudio's own pipeline."""

    _target: type = field(default_factory=lambda: EditingPipeline)
    target: str = ""
    """What the scene shall show."""
    source: str = ""
    """What it shows now."""
    prior: str = "sd15"
    """The model that is asked: a short name, a hub name or a folder."""
    method: Literal["ids", "dds", "cds", "pds", "sds", "nfsd", "ism", "ssd", "drfs"] = "ids"
    """How the scene is edited."""
    guidance: float | None = None
    """eps_uncond + guidance (eps_cond - eps_uncond); the method's own if left out."""
    size: int | None = None
    """Shorter side of the rendered views, pixels; what the prior was trained on if left out."""
    reconstruct: int = 30_000
    """Steps of ordinary training before the edit begins."""
    rays_per_chunk: int = 4096
    """Rays that are followed at once."""
    seed: int = 0
    """Of views, timesteps and noise."""


class EditingPipeline(VanillaPipeline):
    """nerfstudio's pipeline, whose loss becomes a distiller's after some steps.

    Raises:
        UserError: if there is no target.
    """

    config: EditingPipelineConfig

    def __init__(self, config: EditingPipelineConfig, device: str, **options: Any) -> None:
        if not config.target.strip():
            raise UserError('--pipeline.target is missing: say what the scene shall show, "a pig".')
        super().__init__(config, device, **options)
        # In a list, so that its weights are neither trained nor saved with the scene's.
        self.held: list[Any] = []
        self.encoded: dict[int, Tensor] = {}
        self.generators = make_generators(config.seed, [0])

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """The loss of a step: nerfstudio's own at first, then that of the distiller on a view."""
        if step < self.config.reconstruct:
            loss: tuple[Any, dict[str, Any], dict[str, Any]] = super().get_train_loss_dict(step)
            return loss
        if not self.held:
            self.held.append(self.make_distiller())
        distiller, prompts = self.held[0]
        views = self.datamanager.train_dataset
        row = int(torch.randint(len(views), (1,), generator=self.generators[0]))
        rendered = self.view(row)
        if row not in self.encoded:
            with torch.no_grad():
                self.encoded[row] = distiller.prior.encode(self.picture(row))
        target = distiller.prior.encode(rendered)
        value = distiller(target, self.encoded[row], prompts, self.generators)
        return {"rgb": rendered}, {"distillation": value}, {}

    def make_distiller(self) -> tuple[Any, Any]:
        """The distiller and the pair of prompts."""
        config = self.config
        prior = editing.load_prior(config.prior, device=str(self.device))
        options = {} if config.guidance is None else {"guidance": config.guidance}
        distiller = getattr(editing, config.method.upper())(prior, **options)
        self.shape = fitting_size(config.size, prior), prior.size_multiple
        return distiller, prior.pair(source=config.source, target=config.target)

    def grid(self, row: int) -> tuple[int, int, Float[Tensor, "h w 2"]]:
        """Height and width of a rendered view, and where its pixels are in the camera's own."""
        camera = self.datamanager.train_dataset.cameras[row]
        full = int(camera.width), int(camera.height)
        width, height = fitted_size(*full, *self.shape)
        step = min(full[0] / width, full[1] / height)
        y, x = (
            (torch.arange(count) + 0.5 - count / 2) * step + side / 2
            for count, side in ((height, full[1]), (width, full[0]))
        )
        return height, width, torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)

    def view(self, row: int) -> Float[Tensor, "1 3 h w"]:
        """A whole view as the scene is now, in [0, 1], with a graph to the scene.

        Chunks of rays are followed again on the way back, so that memory does not grow with them.
        """
        height, width, where = self.grid(row)
        cameras = self.datamanager.train_dataset.cameras.to(self.device)
        rays = cameras.generate_rays(row, coords=where.to(self.device), keep_shape=True).flatten()
        size, sampler = self.config.rays_per_chunk, getattr(self.model, "proposal_sampler", None)
        turn = getattr(sampler, "_steps_since_update", None)
        colors = [
            checkpoint(self.follow, rays, slice(start, start + size), turn, use_reentrant=False)
            for start in range(0, len(rays), size)
        ]
        return torch.cat(colors).view(1, height, width, 3).permute(0, 3, 1, 2).clamp(0, 1)

    def follow(self, rays: Any, part: slice, turn: int | None) -> Float[Tensor, "R 3"]:
        """Colours of some rays, of which a model changes a copy.

        ``turn`` decides whether nerfstudio's sampler is trained by them, and counts calls: it is
        set so that it is the same on the way back.
        """
        if turn is not None:
            self.model.proposal_sampler._steps_since_update = turn
        colors: Tensor = self.model(rays[part])["rgb"]
        return colors

    def picture(self, row: int) -> Float[Tensor, "1 3 h w"]:
        """The original picture of a view, sampled where :meth:`view` is."""
        height, width, where = self.grid(row)
        image = self.datamanager.train_dataset.get_image_float32(row)[..., :3]
        image = image.permute(2, 0, 1)[None].to(self.device)
        step = float(where[1, 0, 0] - where[0, 0, 0])
        if step > 1:  # resized first, as sampling alone would alias
            size = round(image.shape[2] / step), round(image.shape[3] / step)
            image = F.interpolate(image, size, mode="bilinear", antialias=True)
        top, left = (image.shape[2] - height) // 2, (image.shape[3] - width) // 2
        if top < 0 or left < 0:
            return F.interpolate(image, (height, width), mode="bilinear")
        return image[:, :, top : top + height, left : left + width]


def _specification() -> MethodSpecification:
    config = copy.deepcopy(method_configs["nerfacto"])
    config.method_name = NAME
    config.max_num_iterations = 33_000
    own = config.pipeline
    config.pipeline = EditingPipelineConfig(datamanager=own.datamanager, model=own.model)
    description = "Edits a scene by text with score distillation (IDS, DDS, CDS, PDS, ...)."
    return MethodSpecification(config, description)


method = _specification()
