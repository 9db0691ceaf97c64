"""Alignments of tokens, by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from samplers.alignment import Tokens, common, read_tokens, refinement, replacement


@pytest.fixture
def read(tiny_prior: Any) -> Any:
    """Tokens of a prompt: words of the tiny vocabulary are one token, others one per letter."""
    return lambda prompt: read_tokens(tiny_prior, prompt)


def columns(matrix: torch.Tensor) -> list[dict[int, float]]:
    """For each target token, what it takes of which source tokens."""
    return [
        {row: column[row].item() for row in column.nonzero()[:, 0].tolist()} for column in matrix.T
    ]


def test_words_and_phrases_are_found(read: Any) -> None:
    tokens = read("A  cat, a zoo cat's red hat")
    # 0 begin, 1 a, 2 cat, 3 comma, 4 a, 5 to 7 zoo, 8 cat, 9 and 10 's, 11 red, 12 hat
    assert tokens.words() == [[1], [2, 3], [4], [5, 6, 7], [8, 9, 10], [11], [12]]
    assert tokens.find("Cat") == [2, 8]
    assert tokens.find("zoo") == [5, 6, 7]
    assert tokens.find("red hat") == [11, 12]
    with pytest.raises(ValueError, match="no 'ca' in the prompt"):
        tokens.find("ca")


def test_a_prompt_is_cut_where_the_encoder_cuts_it(read: Any) -> None:
    tokens = read("a " * 40)
    assert len(tokens.ids) == 16
    assert tokens.words()[:14] == [[i] for i in range(1, 15)]
    assert not any(tokens.words()[14:])
    with pytest.raises(ValueError, match="'hat' is beyond what the model reads"):
        read("a " * 40 + "hat").find("hat")


def test_a_word_whose_counterpart_is_cut_off_keeps_its_attention(read: Any) -> None:
    """The source's second word is many tokens, and its last one is not read."""
    source, target = read("a zoozoozoozoozoozoo cat"), read("a red hat")
    assert source.words()[-1] == []
    made = replacement(source, target, 16)
    (hat,) = target.find("hat")
    assert made.own[hat] == 1 and not made.matrix[:, hat].any()
    assert made.own.sum() == 1, "all others take the source's"


def test_words_of_several_tokens_that_were_learnt(tiny_prior: Any) -> None:
    pipeline = SimpleNamespace(maybe_convert_prompt=lambda text, _: text.replace("dog", "dog pig"))
    prior = SimpleNamespace(tokenizer=tiny_prior.tokenizer, pipeline=pipeline)
    assert read_tokens(prior, "a dog").ids == read_tokens(tiny_prior, "a dog pig").ids


def test_a_swapped_word_takes_over_its_predecessor(read: Any) -> None:
    alignment = replacement(read("a cat on"), read("a pig on"), 8)
    torch.testing.assert_close(alignment.matrix, torch.eye(8))
    assert not alignment.own.any()


def test_a_longer_word_shares_out_the_attention(read: Any) -> None:
    # begin a cat on end pad pad pad  ->  begin a z o o on end pad
    found = columns(replacement(read("a cat on"), read("a zoo on"), 8).matrix)
    third = pytest.approx(1 / 3)
    assert found == [{0: 1}, {1: 1}, {2: third}, {2: third}, {2: third}, {3: 1}, {4: 1}, {7: 1}]


def test_a_shorter_word_collects_the_attention(read: Any) -> None:
    # begin a z o o on end pad  ->  begin a cat on end pad pad pad
    found = columns(replacement(read("a zoo on"), read("a cat on"), 8).matrix)
    assert found == [{0: 1}, {1: 1}, {2: 1, 3: 1, 4: 1}, {5: 1}, {6: 1}, {5: 1}, {6: 1}, {7: 1}]


def test_a_swap_needs_the_same_number_of_words(read: Any) -> None:
    with pytest.raises(ValueError, match="same number of words"):
        replacement(read("a cat"), read("a red cat"), 8)


def test_new_tokens_keep_their_own_attention(read: Any) -> None:
    # begin a cat end pad ...  ->  begin a red cat with hat end pad
    alignment = refinement(read("a cat"), read("a red cat with hat"), 8)
    assert columns(alignment.matrix) == [{0: 1}, {1: 1}, {}, {2: 1}, {}, {}, {3: 1}, {7: 1}]
    assert alignment.own.tolist() == [0, 0, 1, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("a", "b", "pairs"),
    [
        ("", "x", []),
        ("abc", "abc", [(0, 0), (1, 1), (2, 2)]),
        ("abc", "axbyc", [(0, 0), (1, 2), (2, 4)]),
        ("axbyc", "abc", [(0, 0), (2, 1), (4, 2)]),
        ("abc", "xyz", []),
        ("ab", "ba", [(1, 0)]),
        ("ab", "aab", [(0, 0), (1, 2)]),  # of two, the first
    ],
)
def test_the_longest_common_subsequence(a: str, b: str, pairs: list[tuple[int, int]]) -> None:
    assert common(tuple(map(ord, a)), tuple(map(ord, b))) == pairs


def test_identical_prompts_are_left_as_they_are() -> None:
    tokens = Tokens("a cat", (9, 1, 2, 8), ((0, 0), (0, 1), (2, 5), (0, 0)))
    for align in (replacement, refinement):
        alignment = align(tokens, tokens, 6)
        torch.testing.assert_close(alignment.matrix, torch.eye(6))
        assert not alignment.own.any()
