"""Any text a person can type reaches the configuration unchanged."""

from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from editing.prompts import TEXT_KEYS, hydra_words, quote
from editing.records import config_yaml

AWKWARD = st.text(st.sampled_from("a ,'\"=[]{}():$\\#~+-*@!%&|;\t\n\r<>?/.é猫🐖\u2028")) | st.text()


def read_back(word: str) -> str:
    """The value Hydra hands on for one override word."""
    (override,) = OverridesParser.create().parse_overrides([word])
    assert not override.is_sweep_override()
    return OmegaConf.create({"value": override.value()})["value"]


@settings(deadline=None)
@given(AWKWARD, st.sampled_from(TEXT_KEYS))
@example("a pig, pink, in the cat's place", "target")
@example('say "cheese"', "target")
@example("${x}", "target")
@example("\\${x} \\\\${y} ${", "target")
@example("back\\", "src")
@example("\\'", "src")
@example(" led and trailed ", "source")
@example("null", "target")
@example("1", "target")
@example("true", "target")
@example("", "target")
@example("[a,b]", "target")
@example("choice(a,b)", "target")
@example("two\nlines", "target")
def test_text_reads_back_exactly(text: str, key: str) -> None:
    (word,) = hydra_words([f"{key}={text}"], [])
    assert read_back(word) == text


@settings(deadline=None)
@given(AWKWARD)
def test_text_survives_a_multirun(text: str) -> None:
    overrides = OverridesParser.create().parse_overrides([f"target={quote(text)}"])
    (((word,),),) = BasicSweeper.split_arguments(overrides, None)
    assert read_back(word) == text


@settings(deadline=None)
@given(AWKWARD)
@example("\x85")
@example("a\u2028b")
@example("1e3")
def test_text_survives_a_config_file(text: str) -> None:
    yaml = config_yaml({"target": text}).decode()
    assert OmegaConf.create(yaml)["target"] == text


@pytest.mark.parametrize("word", ["steps=3", "method=ids,dds", "-m", "targets=a,b", "prior=sd15"])
def test_other_words_are_untouched(word: str) -> None:
    assert hydra_words([word], ["sd15"]) == [word]


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_prefixed_keys_are_quoted_too(prefix: str) -> None:
    assert hydra_words([f"{prefix}target=a, b"], []) == [f"{prefix}target='a, b'"]


@pytest.mark.parametrize("prior", ["/a b/c,d", "owner/model", "./x=y"])
def test_a_prior_may_be_a_folder_or_a_hub_name(prior: str) -> None:
    drop, word = hydra_words([f"prior={prior}"], ["sd15"])
    assert drop == "~prior"
    assert read_back(word) == prior


def test_a_folder_without_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert hydra_words(["prior=mine"], ["sd15"]) == ["~prior", "+prior.path='mine'"]
    assert hydra_words(["prior=yours"], ["sd15"]) == ["prior=yours"]
