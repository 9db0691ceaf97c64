"""Shell words as people type them, kept whole on their way through Hydra's grammar."""

import re

from hydra.core.override_parser.types import Quote, QuotedString

TEXT_KEYS = ("src", "target", "source", "output", "captioner")
_TEXT_OVERRIDE = re.compile(rf"(\+{{0,2}}(?:{'|'.join(TEXT_KEYS)}))=(.*)", re.DOTALL)


def escape_interpolation(text: str) -> str:
    r"""`text` written so that OmegaConf reads it back literally: `${x}` becomes `\${x}`."""
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def quote(text: str) -> str:
    """`text` as one quoted value of Hydra's override grammar, which reads back as `text` exactly."""
    return QuotedString(escape_interpolation(text), Quote.single).with_quotes()


def quote_overrides(words: list[str]) -> list[str]:
    """Command-line words with the values of `TEXT_KEYS` quoted; every other word is untouched.

    What follows the first `=` is the text, to the last character: `target=a pig, pink` needs no
    quotes besides the shell's, and `target='"pig"'` has double quotes in it. An empty value is the
    empty text, which the runner treats as it treats a missing one.
    """
    return [
        f"{match[1]}={quote(match[2])}" if (match := _TEXT_OVERRIDE.fullmatch(word)) else word
        for word in words
    ]
