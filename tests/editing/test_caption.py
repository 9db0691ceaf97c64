"""Captions are the best sentence of a grammar, and the two prompts of an edit make a pair."""

import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from editing import caption as module
from editing.caption import (
    Caption,
    Clip,
    Grammar,
    best_choices,
    caption,
    source_prompt,
    unknown_words,
)
from editing.errors import UserError

GRAMMAR = {
    "template": "{style} a {coat} {species} {worn} {place}",
    "slots": {
        "style": ["a photo of", "a drawing of"],
        "coat": ["gray", "pink"],
        "species": ["cat", "dog", "pig", "cow", "lion"],
        "worn": ["", "with a red hat"],
        "place": ["on a beach", "on the hat"],
    },
    "familiar": {"similarity": 0.2},
}


@dataclass
class Folder:
    """What `describe` asks of a prior."""

    folder: Path | None


@pytest.fixture(scope="module")
def world(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior's folder with a small random CLIP and a grammar."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(tiny_sd / "tokenizer", folder / "tokenizer")
    tokenizer = Clip.read_tokenizer(folder, folder / "clip")
    tower = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": 16,
        "initializer_factor": 5.0,
    }
    text = tower | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = tower | {"image_size": 32, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.save_pretrained(folder / "clip")
    (folder / "grammar.json").write_text(json.dumps(GRAMMAR))
    return folder


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand((3, 3, 32, 48), generator=torch.Generator().manual_seed(0))


def test_no_change_of_one_word_is_more_similar(world: Path, pictures: Tensor) -> None:
    grammar, clip = Grammar.read(world / "grammar.json"), Clip(world)
    choices = best_choices(pictures, world, grammar)
    for picture, choice in zip(clip.embed_images(pictures), choices, strict=True):
        best = picture @ clip.embed_texts([grammar.sentence(choice)])[0]
        for slot, words in grammar.slots.items():
            others = [grammar.sentence(choice | {slot: word}) for word in words]
            assert (clip.embed_texts(others) @ picture).max() <= best + 1e-6


class WordClip:
    """A CLIP that knows which words describe each picture; pictures hold their number."""

    shown: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        self.words = sorted({word for sentence in self.shown for word in sentence.split()})

    def embed_texts(self, texts: list[str]) -> Tensor:
        rows = [[float(word in text.split()) for word in self.words] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(rows) + 1e-6, dim=-1)

    def embed_images(self, images: Tensor) -> Tensor:
        return self.embed_texts([self.shown[int(image[0, 0, 0])] for image in images])


def test_the_true_sentence_is_found(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = Grammar.read(world / "grammar.json")
    names, words = zip(*grammar.slots.items(), strict=True)
    shown = [
        grammar.sentence(dict(zip(names, choice, strict=True)))
        for choice in itertools.product(*words)
    ]
    monkeypatch.setattr(WordClip, "shown", shown)
    monkeypatch.setattr(module, "read_clip", WordClip)
    numbers = torch.arange(len(shown)).float().view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    assert caption(numbers, Folder(world)) == shown


def test_a_caption_does_not_depend_on_its_batch(world: Path, pictures: Tensor) -> None:
    alone = [caption(picture[None], Folder(world))[0] for picture in pictures]
    assert caption(pictures, Folder(world)) == alone


def test_pictures_are_cropped_and_normalised_as_clip_expects(world: Path) -> None:
    from transformers import CLIPImageProcessor

    clip = Clip(world)
    picture = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(1))
    wide = torch.cat([torch.zeros(3, 32, 8), picture, torch.zeros(3, 32, 8)], dim=2)
    processor = CLIPImageProcessor(do_resize=False, do_center_crop=False, do_rescale=False)
    pixels = processor(picture, return_tensors="pt")["pixel_values"]
    expected = clip.model.get_image_features(pixel_values=pixels).pooler_output
    expected = torch.nn.functional.normalize(expected, dim=-1)
    assert torch.allclose(clip.embed_images(wide[None]), expected, atol=1e-5)


FOUND = {"style": "a photo of", "coat": "gray", "species": "cat", "worn": "", "place": "on snow"}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("a pig", "a cat"),
        (" The PIG.", "a cat"),
        ("an aardvark", "a cat"),
        ("", "a cat"),
        ("a pig, pink, in the cat's place", "a gray cat"),
        ("a pig on the BEACH", "a cat on snow"),
        ("a drawing of a pig", "a photo of a cat"),
        ("a pig with a red hat", "a cat"),
        ("a gray pig with a red hat on a beach", "a gray cat on snow"),
        ("a red-hatted, beachy drawings", "a cat"),
    ],
)
def test_the_source_speaks_of_what_the_target_speaks_of(target: str, expected: str) -> None:
    slots = GRAMMAR["slots"] | {"place": ["on snow", "on a beach"]}
    grammar = Grammar(GRAMMAR["template"], slots)
    found = Caption(grammar.sentence(FOUND), grammar, FOUND)
    assert found.full == "a photo of a gray cat on snow"
    assert source_prompt(found, target) == expected


def test_a_longer_phrase_is_no_shorter_one() -> None:
    slots = {"species": ["cat"], "coat": ["blue"], "worn": ["with a blue hat"]}
    grammar = Grammar("a {coat} {species} {worn}", slots)
    assert grammar.slots_in("a cat with a blue hat") == {"species", "worn"}
    assert grammar.slots_in("a blue cat with a blue hat") == {"species", "coat", "worn"}


def test_a_slot_may_be_said_in_other_words() -> None:
    slots = {"species": ["cat", "dog"], "place": ["in a forest"]}
    plain = Grammar("a {species} {place}", slots)
    rich = Grammar("a {species} {place}", slots, synonyms={"in a forest": ["in the woods"]})
    assert plain.slots_in("a dog in the woods") == {"species"}
    assert rich.slots_in("a dog in the woods") == {"species", "place"}


def test_a_sentence_has_the_right_article() -> None:
    grammar = Grammar("a {coat} {species}", {"species": ["cat"], "coat": ["", "orange"]})
    assert grammar.sentence({"coat": "orange", "species": "cat"}) == "an orange cat"
    assert grammar.sentence({"coat": "", "species": "cat"}) == "a cat"


def test_a_grammar_needs_its_subject() -> None:
    with pytest.raises(ValueError, match="species"):
        Grammar("a {place}", {"place": ["beach"]})


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a Pig, on the cat's beach!", {}),
        ("two pigs", {"two": "it knows", "pigs": "did you mean 'pig'?"}),
        ("a girafe 3", {"girafe": "it knows cat, dog, pig, cow, lion."}),
        ("a 豚", {"豚": "it knows"}),
        ("", {}),
    ],
)
def test_unknown_words_are_named(tmp_path: Path, prompt: str, expected: dict[str, str]) -> None:
    words = {"words": ["a", "beach", "cat", "on", "pig", "the"]}
    (tmp_path / "grammar.json").write_text(json.dumps(GRAMMAR | words))
    found = unknown_words(prompt, Folder(tmp_path))
    assert list(found) == list(expected)
    assert all(found[word].startswith(hint) for word, hint in expected.items())


def test_without_a_list_of_words_none_is_unknown(world: Path) -> None:
    assert unknown_words("a giraffe", Folder(world)) == {}
    assert unknown_words("a giraffe", Folder(None)) == {}


def test_source_prompt_of_a_captioner_without_a_grammar() -> None:
    assert source_prompt(Caption("a cat sitting on a sofa"), "a pig") == "a cat sitting on a sofa"


def test_other_priors_are_captioned_by_blip(
    pictures: Tensor, tmp_path: Path, tiny_sd: Path
) -> None:
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "a", "cat", "hat"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tower = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    tokens = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = tower | tokens | {"vocab_size": len(words), "encoder_hidden_size": 16}
    vision = tower | {"image_size": 32, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))
    model.save_pretrained(tmp_path / "blip")
    size = {"height": 32, "width": 32}
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    BlipProcessor(BlipImageProcessor(size=size), tokenizer).save_pretrained(tmp_path / "blip")
    captions = caption(pictures, Folder(tiny_sd), str(tmp_path / "blip"))
    assert len(captions) == 3
    assert all(isinstance(text, str) for text in captions)


@pytest.mark.parametrize("captioner", ["nowhere/at-all", "/no/such/folder", "bad name", ""])
def test_a_missing_captioner_asks_for_the_source_prompt(
    pictures: Tensor, captioner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="describe the picture yourself") as error:
        caption(pictures, Folder(None), captioner)
    assert "\n" not in str(error.value)
