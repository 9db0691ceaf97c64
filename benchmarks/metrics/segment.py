"""Finding what a word names in a picture, by whichever model there is."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from editing.errors import UserError
from editing.images import to_image
from editing.mask import segment_by


@runtime_checkable
class Segmenter(Protocol):
    """Finds what words name."""

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], words: Sequence[str]
    ) -> Bool[Tensor, "B 1 H W"]:
        """Masks of one thing in each picture (values in [0, 1]); empty where it is not seen."""
        ...


def load_segmenter(name: str, device: torch.device | str = "cpu") -> Segmenter:
    """A segmenter by name.

    Args:
        name: `lang_sam`, where that package is installed; `DETECTOR+SAM`, a GroundingDINO and a SAM
            or SAM 2 by folder or hub name; or a CLIPSeg by folder or hub name.
        device: where GroundingDINO and SAM run; CLIPSeg is small and stays on the CPU.

    Raises:
        UserError: `lang_sam` is not installed, or a model cannot be loaded.
    """
    if name == "lang_sam":
        return LangSam()
    detector, plus, sam = name.partition("+")
    return GroundedSam(detector, sam, device=device) if plus else ClipSeg(name)


class ClipSeg:
    """CLIPSeg, the Menagerie's own or another.

    Args:
        model: folder or hub name.
    """

    def __init__(self, model: Path | str) -> None:
        self.model = model

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], words: Sequence[str]
    ) -> Bool[Tensor, "B 1 H W"]:
        masks = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
        for word in dict.fromkeys(words):
            rows = torch.tensor([each == word for each in words])
            masks[rows] = segment_by(self.model, images[rows], word) > 0.5
        return masks


class GroundedSam:
    """GroundingDINO finds boxes (Liu et al. 2023), SAM what is in them (Kirillov et al. 2023).

    These are the two models of lang-SAM, which the IDS paper uses. All that is found counts.

    Args:
        detector: folder or hub name of a GroundingDINO.
        sam: of a SAM or SAM 2.
        box_threshold: least score of a box, in [0, 1].
        text_threshold: least score of a word in it.
        device: where both run.

    Raises:
        UserError: a model cannot be loaded.
    """

    def __init__(
        self,
        detector: str = "IDEA-Research/grounding-dino-tiny",
        sam: str = "facebook/sam-vit-base",
        box_threshold: float | int = 0.3,
        text_threshold: float | int = 0.25,
        device: torch.device | str = "cpu",
    ) -> None:
        from transformers import AutoModelForMaskGeneration, AutoModelForZeroShotObjectDetection

        self.box_threshold, self.text_threshold = box_threshold, text_threshold
        self.detector, self.reader = _load(AutoModelForZeroShotObjectDetection, detector)
        self.sam, self.framer = _load(AutoModelForMaskGeneration, sam)
        self.device = torch.device(device)
        self.detector.to(self.device), self.sam.to(self.device)

    @torch.no_grad()
    def __call__(
        self, images: Float[Tensor, "B 3 H W"], words: Sequence[str]
    ) -> Bool[Tensor, "B 1 H W"]:
        height, width = images.shape[-2:]
        masks = torch.zeros(len(images), 1, height, width, dtype=torch.bool)
        for i, (image, word) in enumerate(zip(images, words, strict=True)):
            picture = to_image(image)
            # The detector wants lower case and a point behind every thing that it looks for.
            asked = self.reader(images=picture, text=f"{word.lower()}.", return_tensors="pt")
            asked = asked.to(self.device)
            (found,) = self.reader.post_process_grounded_object_detection(
                self.detector(**asked),
                asked.input_ids,
                threshold=self.box_threshold,
                text_threshold=self.text_threshold,
                target_sizes=[(height, width)],
            )
            if len(found["boxes"]):
                masks[i] = self._inside(picture, found["boxes"].cpu())
        return masks

    def _inside(self, picture: Any, boxes: Float[Tensor, "n 4"]) -> Bool[Tensor, "1 H W"]:
        """What SAM finds in the boxes, together."""
        framed = self.framer(images=picture, input_boxes=[boxes.tolist()], return_tensors="pt")
        made = self.sam(
            pixel_values=framed["pixel_values"].to(self.device),
            input_boxes=framed["input_boxes"].to(self.device),
            multimask_output=False,
        )
        sizes = [
            framed[name] for name in ("original_sizes", "reshaped_input_sizes") if name in framed
        ]
        (full,) = self.framer.post_process_masks(made.pred_masks.cpu(), *sizes)
        return full[:, 0].any(0, keepdim=True)


class LangSam:
    """The package lang-SAM itself, for figures that are comparable with the IDS paper's.

    Raises:
        UserError: it is not installed.
    """

    def __init__(self) -> None:
        if find_spec("lang_sam") is None:
            raise UserError(
                "lang_sam is not installed: install it from its repository, or name the same two "
                "models, IDEA-Research/grounding-dino-base+facebook/sam-vit-huge."
            )
        from lang_sam import LangSAM

        self.model = LangSAM()

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], words: Sequence[str]
    ) -> Bool[Tensor, "B 1 H W"]:
        found = self.model.predict([to_image(image) for image in images], list(words))
        masks = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
        for i, one in enumerate(found):
            if len(one["masks"]):
                masks[i, 0] = torch.as_tensor(one["masks"]).bool().any(0)
        return masks


def _load(kind: Any, name: str) -> tuple[Any, Any]:
    """A model of transformers in safetensors, and its processor."""
    from transformers import AutoProcessor

    try:
        model = kind.from_pretrained(name, use_safetensors=True).eval()
        return model, AutoProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The segmenter's part {name!r} is neither a folder nor could it be downloaded."
        ) from error
