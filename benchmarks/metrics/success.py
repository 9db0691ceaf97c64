"""Whether an edit is what it should be, to a classifier of ImageNet (IDS paper, Table S3)."""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.metrics.base import MeanOverImages
from benchmarks.metrics.imagenet import prepared
from editing.errors import UserError

# Of ImageNet's thousand classes those that an animal of Cat-to-Others may be.
CLASSES: dict[str, Sequence[int]] = {
    "cat": range(281, 286),
    "dog": range(151, 269),
    "pig": (341, 342),  # hog, wild boar
    "cow": (345,),  # ox
    "lion": (291,),
    "tiger": (292,),
    "squirrel": (335,),  # fox squirrel
    "penguin": (145,),  # king penguin
}


def named_classes(text: str) -> Sequence[int]:
    """The classes of the first animal that a prompt names; none if it names none of `CLASSES`."""
    words = re.findall(r"[a-z]+", text.lower())
    return next((CLASSES[word] for word in words if word in CLASSES), ())


def success(logits: Float[Tensor, "B 1000"], texts: Sequence[str]) -> Float[Tensor, " B"]:
    """1 where the likeliest class is one of what the text names, else 0; NaN if it names none."""
    found = []
    for best, text in zip(logits.argmax(1).tolist(), texts, strict=True):
        wanted = named_classes(text)
        found.append(float(best in wanted) if wanted else float("nan"))
    return torch.tensor(found)


def load_classifier(name: str = "microsoft/resnet-50") -> nn.Module:
    """A classifier of ImageNet's thousand classes by folder or hub name.

    Raises:
        UserError: it cannot be loaded, or has other classes.
    """
    from transformers import AutoModelForImageClassification

    try:
        model = AutoModelForImageClassification.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The classifier {name!r} is neither a folder nor could it be downloaded."
        ) from error
    if model.config.num_labels != 1000:
        count = model.config.num_labels
        raise UserError(f"The classifier {name!r} has {count} classes: take one of ImageNet-1k.")
    return model.eval().requires_grad_(False)


class SuccessRate(MeanOverImages):
    """Mean of :func:`success` of pictures in [0, 1].

    Args:
        model: a classifier, or the name of one.
    """

    def __init__(self, model: nn.Module | str = "microsoft/resnet-50") -> None:
        super().__init__()
        self.model = load_classifier(model) if isinstance(model, str) else model

    @torch.no_grad()
    def values(self, images: Float[Tensor, "B 3 H W"], texts: Sequence[str]) -> Tensor:
        return success(self.model(prepared(images)).logits, texts)
