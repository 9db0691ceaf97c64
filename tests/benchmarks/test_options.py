from dataclasses import dataclass

import pytest

from benchmarks import options


@dataclass(frozen=True)
class Example:
    steps: int = 3
    rate: float = 0.5
    out: str = "here"
    fast: bool = False


def test_words_fill_the_dataclass() -> None:
    assert options.read(Example, "", []) == Example()
    read = options.read(Example, "", ["steps=7", "rate=2", "out=/a b/c=d", "fast=true"])
    assert read == Example(7, 2.0, "/a b/c=d", True)
    assert type(read) is Example
    assert type(read.rate) is float


def test_sys_argv_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["program", "steps=9"])
    assert options.read(Example, "").steps == 9


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_prints_the_text_and_the_defaults(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        options.read(Example, "Does things.", ["steps=1", flag])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Does things.")
    assert "steps: 3\nrate: 0.5\nout: here\nfast: false\n" in printed


@pytest.mark.parametrize("word", ["stesp=3", "steps", "--steps=3", "=3", "steps.x=3", ""])
def test_an_unknown_option_is_named_with_the_known_ones(word: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        options.read(Example, "", [word])
    assert stopped.value.code == (f"{word!r} is not an option: give steps=, rate=, out=, fast=.")


@pytest.mark.parametrize("word", ["steps=many", "steps=1.5", "rate=fast", "fast=maybe"])
def test_a_value_of_the_wrong_type_is_one_sentence(word: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        options.read(Example, "", [word])
    assert isinstance(stopped.value.code, str)
    assert "\n" not in stopped.value.code
    assert word.partition("=")[2] in stopped.value.code
