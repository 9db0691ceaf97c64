"""The words of a command line, as people type them, rewritten for Hydra's grammar."""

import re
from collections.abc import Collection
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString

TEXT_KEYS = (
    *("src", "target", "source", "output", "captioner", "mask", "jobs", "lora", "embedding"),
    "inversion",
    *("suite.src", "suite.source"),
)
_NESTED = {"mask": "mask.area"}  # text keys that stand for a field of theirs
_TEXT_OVERRIDE = re.compile(
    rf"(\+{{0,2}}(?:{'|'.join(map(re.escape, TEXT_KEYS))}))=(.*)", re.DOTALL
)


def escape_interpolation(text: str) -> str:
    r"""`text` written so that OmegaConf reads it back literally: `${x}` becomes `\${x}`."""
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def quote(text: str) -> str:
    """`text` as one quoted value of Hydra's grammar, which reads it back exactly."""
    return QuotedString(escape_interpolation(text), Quote.single).with_quotes()


def hydra_words(words: list[str], priors: Collection[str]) -> list[str]:
    """The words of a command line as Hydra needs them.

    - The values of `TEXT_KEYS` are quoted. What follows the first `=` is the text, to the last
      character: `target=a pig, pink` needs no quotes besides the shell's, and `target='"pig"'` has
      double quotes in it. An empty value is the empty text.
    - `prior=` may name a folder or a hub model besides the named `priors`.

    Every other word is left as it is.
    """
    return [new for word in words for new in _hydra_words(word, priors)]


def _hydra_words(word: str, priors: Collection[str]) -> list[str]:
    if match := _TEXT_OVERRIDE.fullmatch(word):
        plain = match[1].lstrip("+")
        return [f"{match[1].replace(plain, _NESTED.get(plain, plain))}={quote(match[2])}"]
    key, _, value = word.partition("=")
    if key == "prior" and value not in priors and ("/" in value or Path(value).is_dir()):
        return ["~prior", f"+prior.path={quote(value)}"]
    return [word]
