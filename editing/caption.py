"""What a picture shows, in words: the source prompt of an edit for which none was given."""

import json
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from editing.errors import UserError
from editing.images import to_image
from editing.paths import expanded
from samplers.prior import Prior
from samplers.random import make_generators, randn

BLIP = "Salesforce/blip-image-captioning-large"
LITTLE = {"a", "an", "the", "of", "in", "on", "at", "with"}
ROUNDS = 4  # passes over the slots of a grammar; most pictures need two


@runtime_checkable
class Described(Protocol):
    """A prior, as far as captions are concerned: the folder of its files, if any."""

    folder: Path | None


@dataclass(frozen=True)
class Caption:
    """A description of a picture.

    Attributes:
        full: the sentence.
        grammar: the grammar it is a sentence of, if any.
        choice: what the sentence says in each slot of that grammar.
    """

    full: str
    grammar: "Grammar | None" = None
    choice: dict[str, str] = field(default_factory=dict)


def caption(images: Float[Tensor, "B 3 H W"], prior: Described, captioner: str = BLIP) -> list[str]:
    """One sentence for each picture (values in [0, 1]); see `describe`."""
    return [found.full for found in describe(images, prior, captioner)]


def describe(
    images: Float[Tensor, "B 3 H W"], prior: Described, captioner: str = BLIP
) -> list[Caption]:
    """Caption pictures (values in [0, 1]) in the language of the prior.

    A prior whose folder has `clip/` and `grammar.json` brings its own world: the caption is the
    sentence of that grammar which its CLIP finds most similar to the picture. For any other prior
    the BLIP model `captioner` (a folder or a hub name) writes it.
    """
    if prior.folder and (prior.folder / "grammar.json").exists():
        grammar = Grammar.read(prior.folder / "grammar.json")
        choices = best_choices(images, prior.folder, grammar)
        return [Caption(grammar.sentence(choice), grammar, choice) for choice in choices]
    return [Caption(text) for text in _blip(images, captioner)]


def _grammar_file(prior: Any) -> dict[str, Any]:
    """What the prior's `grammar.json` says; nothing if there is none."""
    folder = getattr(prior, "folder", None)
    path = folder / "grammar.json" if folder else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}


def unfamiliar(images: Float[Tensor, "B 3 H W"], prior: Prior) -> list[bool]:
    """Whether each picture (values in [0, 1]) is unlike anything the prior was trained on.

    Known only for a prior whose `grammar.json` says how strange its own world is to it at the most:
    `"familiar": {"strangeness": number}`.
    """
    most = _grammar_file(prior).get("familiar", {}).get("strangeness")
    if most is None:
        return [False] * len(images)
    return (strangeness(images, prior) > most).tolist()


@torch.no_grad()
def strangeness(images: Float[Tensor, "B 3 H W"], prior: Prior) -> Float[Tensor, " B"]:
    """Mean squared error of the noise that a prior finds in pictures, without a prompt, at T / 5.

    The same noise for every picture, so that a picture's number is its own.
    """
    z = prior.encode(images.to(prior.device))
    t = torch.full((len(z),), prior.num_timesteps // 5)
    noise = randn(z.shape, make_generators(0, [0] * len(z)), z.device)
    alpha, sigma = prior.alpha_sigma(t)
    found = prior.predict_noise(alpha * z + sigma * noise, t.to(z.device), prior.null(len(z)))
    return (found - noise).square().flatten(1).mean(1).cpu()


def unknown_words(text: str, prior: Described) -> dict[str, str]:
    """The words of a prompt that the prior was not trained on, each with a hint.

    Known only for a prior whose `grammar.json` lists its `words`.
    """
    data = _grammar_file(prior)
    known = set(data.get("words", ()))
    hints = {}
    for word in re.findall(r"[^\W\d_]+", re.sub(r"['’]s\b", "", text.casefold())) if known else ():
        if word not in known:
            near = get_close_matches(word, known, n=1, cutoff=0.7)
            subjects = ", ".join(data["slots"]["species"])
            hints[word] = f"did you mean {near[0]!r}?" if near else f"it knows {subjects}."
    return hints


def source_prompt(found: Caption, target: str) -> str:
    """The source prompt that makes a pair with `target`.

    The two prompts should differ in what is to change and in nothing else: a detail that only the
    source names is edited away. So the source says what it is, and beyond that speaks of what the
    target speaks of: "a cat" for "a pig", "a cat on a meadow" for "a pig on a beach".
    """
    if found.grammar is None:
        return found.full
    said = {found.grammar.subject, *found.grammar.slots_in(target)}
    empty = dict.fromkeys(found.choice, "")
    return found.grammar.sentence(empty | {slot: found.choice[slot] for slot in said})


@dataclass(frozen=True)
class Grammar:
    """Captions made of slots.

    Attributes:
        template: the sentence, as in "{style} a {species} {place}"; a slot may be left empty.
        slots: what each slot may say.
        subject: the slot that says what is shown; it is never left empty.
        synonyms: for what a slot may say, other ways to say it.

    Raises:
        ValueError: if `subject` is not one of the slots.
    """

    template: str
    slots: dict[str, list[str]]
    subject: str = "species"
    synonyms: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.subject not in self.slots:
            raise ValueError(f"the subject {self.subject!r} is not one of {', '.join(self.slots)}")

    @classmethod
    def read(cls, path: Path) -> "Grammar":
        """Read `grammar.json`; keys it has beyond these are other tools'."""
        data = json.loads(path.read_text(encoding="utf-8"))
        keys = ("template", "slots", "subject", "synonyms")
        return cls(**{key: data[key] for key in keys if key in data})

    def sentence(self, choice: dict[str, str]) -> str:
        """The template with a word chosen for each slot; an empty word leaves no gap."""
        text = " ".join(self.template.format_map(choice).split())
        return re.sub(r"\ba(?= [aeiou])", "an", text)

    def slots_in(self, text: str) -> set[str]:
        """The slots that `text` speaks of: it says what one of them may say, little words aside.

        What is found for a longer phrase is not searched again: "a blue hat" names no blue coat.
        """
        text, found = text.casefold(), set()
        phrases = [
            (" ".join(word for word in words.casefold().split() if word not in LITTLE), slot)
            for slot, choices in self.slots.items()
            for choice in choices
            for words in (choice, *self.synonyms.get(choice, ()))
        ]
        for phrase, slot in sorted(phrases, key=lambda pair: -len(pair[0])):
            if phrase and (rest := re.sub(rf"\b{re.escape(phrase)}\b", " ", text)) != text:
                text = rest
                found.add(slot)
        return found


@torch.no_grad()
def best_choices(
    images: Float[Tensor, "B 3 H W"], folder: Path, grammar: Grammar
) -> list[dict[str, str]]:
    """For each picture, a choice of words that no change of a single slot makes more similar.

    Coordinate ascent on the cosine similarity of the CLIP in `folder`, slot by slot: a few dozen
    sentences per picture instead of the thousands that the whole grammar has.
    """
    clip = read_clip(folder)
    pictures = clip.embed_images(images)
    choices = [{slot: words[0] for slot, words in grammar.slots.items()} for _ in images]
    for _ in range(ROUNDS):
        before = [dict(choice) for choice in choices]
        for slot, words in grammar.slots.items():
            variants = [choice | {slot: word} for choice in choices for word in words]
            texts = clip.embed_texts([grammar.sentence(variant) for variant in variants])
            scores = torch.einsum("bd,bwd->bw", pictures, texts.view(len(images), len(words), -1))
            best = scores.argmax(dim=1).tolist()
            choices = [variants[i * len(words) + w] for i, w in enumerate(best)]
        if choices == before:
            break
    return choices


@lru_cache(maxsize=1)  # one run captions many batches
def read_clip(folder: Path, device: torch.device | str = "cpu") -> "Clip":
    """`Clip(folder, device)`, read once."""
    return Clip(folder, device)


def find_clip(prior: Described, name: str) -> "Clip":
    """The CLIP that a prior's folder brings, or else the one of the hub name or folder ``name``.

    Raises:
        UserError: if the latter is neither there nor can be downloaded.
    """
    if prior.folder and (prior.folder / "clip").is_dir():
        return read_clip(prior.folder)
    try:
        return load_clip(name)
    except UserError as error:
        raise UserError(
            f"{error} Give another with early_stop.model=, or early_stop.patience=0."
        ) from error


def load_clip(name: str, device: torch.device | str = "cpu") -> "Clip":
    """The CLIP of a folder or hub name, on a device.

    Raises:
        UserError: if it is neither there nor can be downloaded.
    """
    import huggingface_hub

    folder = expanded(name)
    if not folder.is_dir():
        wanted = ["*.json", "*.txt", "model.safetensors"]
        try:
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
        except Exception as error:  # HTTP library, hub and file system: no common class
            raise UserError(
                f"The CLIP {name!r} is neither a folder nor can it be downloaded."
            ) from error
    try:
        return read_clip(folder, device)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"The CLIP in {folder} cannot be read: {reason.rstrip('.')}.") from error


class Clip:
    """The CLIP model in a folder, or in the `clip/` of a prior's.

    There it may lack a tokenizer of its own, and uses the prior's. It computes, and returns
    embeddings, on the device.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        from transformers import CLIPModel

        own = folder / "clip" if (folder / "clip").is_dir() else folder
        self.device = torch.device(device)
        self.model = CLIPModel.from_pretrained(own, use_safetensors=True).eval().to(self.device)
        self.tokenizer = self.read_tokenizer(folder, own)
        normalisation = _normalisation(own / "preprocessor_config.json")
        self.mean, self.std = (values.to(self.device) for values in normalisation)
        self.cache: dict[str, Tensor] = {}

    @staticmethod
    def read_tokenizer(folder: Path, own: Path) -> Any:
        """The tokenizer of CLIP's own folder, or else the prior's."""
        from transformers import CLIPTokenizer

        there = (own / "tokenizer_config.json").exists()
        return CLIPTokenizer.from_pretrained(own if there else folder / "tokenizer")

    def embed_images(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B d"]:
        """Unit embeddings of the central squares of pictures in [0, 1]."""
        vision = self.model.config.vision_config.image_size
        side = min(images.shape[-2:])
        top, left = ((length - side) // 2 for length in images.shape[-2:])
        square = images.to(self.device, torch.float32)[..., top : top + side, left : left + side]
        pixels = F.interpolate(
            square, (vision, vision), mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1)
        output = self.model.get_image_features(pixel_values=(pixels - self.mean) / self.std)
        return F.normalize(output.pooler_output.float(), dim=-1)

    def embed_texts(self, texts: list[str]) -> Float[Tensor, "n d"]:
        """Unit embeddings; each text is computed once."""
        new = [text for text in dict.fromkeys(texts) if text not in self.cache]
        if new:
            tokens = self.tokenizer(new, padding=True, truncation=True, return_tensors="pt")
            tokens = tokens.to(self.device)
            output = self.model.get_text_features(**tokens)
            embeddings = F.normalize(output.pooler_output.float(), dim=-1)
            self.cache |= dict(zip(new, embeddings, strict=True))
        return torch.stack([self.cache[text] for text in texts])


def _normalisation(path: Path) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Mean and deviation of CLIP's input, its processor's or else OpenAI's."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    mean = data.get("image_mean", OPENAI_CLIP_MEAN)
    std = data.get("image_std", OPENAI_CLIP_STD)
    return torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)


@torch.no_grad()
def _blip(images: Float[Tensor, "B 3 H W"], captioner: str) -> list[str]:
    processor, model = _load_blip(captioner)
    inputs = processor(images=[to_image(image) for image in images], return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=30, do_sample=False)
    texts = processor.batch_decode(tokens, skip_special_tokens=True)
    return [" ".join(text.split()) for text in texts]


@lru_cache(maxsize=1)  # one run captions many batches
def _load_blip(captioner: str) -> tuple[Any, Any]:
    from transformers import BlipForConditionalGeneration, BlipProcessor

    try:
        processor = BlipProcessor.from_pretrained(captioner)
        model = BlipForConditionalGeneration.from_pretrained(captioner, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The captioner {captioner!r} is neither a folder nor could it be downloaded: "
            'describe the picture yourself with source="...".'
        ) from error
    return processor, model.eval()
