"""An independent judge of Menagerie pictures: what they show, attribute by attribute.

CLIP has trained the text tower that the model draws by, so its praise is partial. This small
convolutional network has only ever seen renders and their labels.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.menagerie.scene import CHOICES, Scene

ATTRIBUTES = ("species", "coat", "place", "worn", "worn_color", "style", "prop")
FILE = "classifier.safetensors"


class AttributeClassifier(nn.Module):
    """Logits of every attribute of `ATTRIBUTES` over its `CHOICES`, for pictures of any size.

    Args:
        channels: of its strided convolutions, the first to the last.
    """

    def __init__(self, channels: tuple[int, ...] = (24, 48, 96, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            conv = nn.Conv2d(before, after, 3, stride=2, padding=1)
            layers += [conv, nn.GroupNorm(8, after), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        # Mean and maximum over the picture: the place fills it, a hat does not.
        self.heads = nn.ModuleDict(
            {name: nn.Linear(2 * channels[-1], len(CHOICES[name])) for name in ATTRIBUTES}
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Float[Tensor, "B _"]]:
        """Logits by attribute, of pictures in [0, 1]."""
        seen = self.trunk(2 * images - 1).flatten(2)
        pooled = torch.cat([seen.mean(-1), seen.amax(-1)], 1)
        return {name: head(pooled) for name, head in self.heads.items()}

    @torch.no_grad()
    def predict(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Int64[Tensor, " B"]]:
        """The likeliest choice by attribute, as an index into its `CHOICES`."""
        return {name: logits.argmax(1) for name, logits in self(images).items()}


def labels(scenes: list[Scene]) -> dict[str, Int64[Tensor, " B"]]:
    """What is true of the scenes, as `predict` says it."""
    return {
        name: torch.tensor([CHOICES[name].index(getattr(scene, name)) for scene in scenes])
        for name in ATTRIBUTES
    }


def load_classifier(folder: Path) -> AttributeClassifier:
    """The classifier that `benchmarks.menagerie.train` has written to a model's folder."""
    model = AttributeClassifier()
    state = load_file(folder / FILE)
    model.load_state_dict({name: value.float() for name, value in state.items()})
    return model.eval()


def classification_loss(
    logits: dict[str, Float[Tensor, "B _"]], truth: dict[str, Int64[Tensor, " B"]]
) -> Float[Tensor, ""]:
    """Cross-entropy summed over the attributes; a colour counts where something has it."""
    bare = truth["worn"] == 0
    total = torch.zeros((), device=bare.device)
    for name in ATTRIBUTES:
        wanted = truth[name].masked_fill(bare, -100) if name == "worn_color" else truth[name]
        if (wanted != -100).any():
            total = total + F.cross_entropy(logits[name], wanted, ignore_index=-100)
    return total
