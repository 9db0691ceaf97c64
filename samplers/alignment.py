"""Which tokens of one prompt are which of another: what Prompt-to-Prompt's edits rest on.

Notation: ``n`` tokens of a prompt, with padding.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.trajectory import PromptError


@dataclass(frozen=True)
class Tokens:
    """A prompt as a text encoder sees it.

    Attributes:
        text: the prompt.
        ids: of its tokens, those of beginning and end included.
        spans: where in ``text`` each of them begins and ends; nowhere, for these two.
    """

    text: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    def between(self, start: int, end: int) -> list[int]:
        """Positions of the tokens of a piece of ``text``."""
        return [i for i, (a, b) in enumerate(self.spans) if a < b and a < end and b > start]

    def words(self) -> list[list[int]]:
        """Positions of the tokens of every word, that is, of what is between spaces."""
        return [self.between(*match.span()) for match in re.finditer(r"\S+", self.text)]

    def find(self, word: str) -> list[int]:
        """Positions of the tokens of a word or phrase, wherever it occurs as a whole.

        Upper and lower case are the same, as they are to the text encoders.

        Raises:
            PromptError: if it does not occur, or only after what the encoder reads.
        """
        whole = re.compile(rf"(?<!\w){re.escape(word.strip())}(?!\w)", re.IGNORECASE)
        found = [i for match in whole.finditer(self.text) for i in self.between(*match.span())]
        if not found and whole.search(self.text):
            raise PromptError(
                f"{word!r} is beyond what the model reads of the prompt {self.text!r}"
            )
        if not found:
            raise PromptError(f"there is no {word!r} in the prompt {self.text!r}")
        return found


@dataclass(frozen=True)
class Alignment:
    """How attention to a source's tokens becomes attention to those of a target.

    ``source @ matrix + own * target``, with what either pays to its own n tokens.

    Attributes:
        matrix: what of every source token (rows) goes to every target token.
        own: 1 for the target tokens that keep their own, else 0.
    """

    matrix: Float[Tensor, "*B n n"]
    own: Float[Tensor, "*B n"]


def read_tokens(prior: Any, prompt: str) -> Tokens:
    """The tokens of a prompt, cut where the prior's text encoder cuts them."""
    tokenizer, pipeline = prior.tokenizer, getattr(prior, "pipeline", None)
    if pipeline is not None:  # words of several tokens that were learnt
        prompt = pipeline.maybe_convert_prompt(prompt, tokenizer)
    limit = tokenizer.model_max_length
    read = tokenizer(prompt, truncation=True, max_length=limit, return_offsets_mapping=True)
    spans = tuple((start, end) for start, end in read["offset_mapping"])
    return Tokens(prompt, tuple(read["input_ids"]), spans)


def replacement(source: Tokens, target: Tokens, n: int) -> Alignment:
    """Word by word: each target word takes over the attention to the source word in its place.

    A word of another number of tokens shares it out evenly among them; one whose counterpart is
    beyond what the encoder reads keeps its own.

    Raises:
        PromptError: if the prompts differ in their number of words.
    """
    pairs = list(zip(source.words(), target.words(), strict=False))
    if len(source.words()) != len(target.words()):
        raise PromptError(
            "edit=replace needs prompts with the same number of words, "
            f"unlike {source.text!r} and {target.text!r}"
        )
    matrix = _identity_after(len(target.ids), n)
    matrix[0, 0] = matrix[len(source.ids) - 1, len(target.ids) - 1] = 1
    own = torch.zeros(n)
    for old, new in pairs:
        if not old:
            own[new] = 1
        elif len(old) == len(new):
            matrix[old, new] = 1
        else:
            for position in new:
                matrix[old, position] = 1 / len(new)
    return Alignment(matrix, own)


def refinement(source: Tokens, target: Tokens, n: int) -> Alignment:
    """Tokens that both prompts have keep the source's attention, and new ones have their own."""
    matrix = _identity_after(len(target.ids), n)
    for old, new in common(source.ids, target.ids):
        matrix[old, new] = 1
    return Alignment(matrix, 1 - matrix.sum(0))


def common(a: tuple[int, ...], b: tuple[int, ...]) -> list[tuple[int, int]]:
    """Positions of a longest common subsequence, in ascending order; of several, the first.

    Needleman and Wunsch's alignment with a score of 1 for a match, 0 for a gap and less for a
    mismatch, which never happens then.
    """
    length = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a, 1):
        for j, right in enumerate(b, 1):
            longer = length[i - 1][j - 1] + 1 if left == right else 0
            length[i][j] = max(longer, length[i - 1][j], length[i][j - 1])
    pairs, i, j = [], len(a), len(b)
    while i and j:
        if length[i][j - 1] == length[i][j]:
            j -= 1
        elif length[i - 1][j] == length[i][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


def _identity_after(end: int, n: int) -> Float[Tensor, "n n"]:
    """Padding becomes padding."""
    return torch.diag((torch.arange(n) >= end).float())
