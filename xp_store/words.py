"""The words of a text, as both engines' text search sees them."""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")


def tokens(text: str) -> list[str]:
    """The words of a text in order, as FTS5's unicode61 sees them: folded, without diacritics."""
    if not text.isascii():
        spread = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in spread if not unicodedata.combining(each))
    return _WORD.findall(text.lower())


def words(text: str) -> list[str]:
    """The words of a text, once each."""
    return list(dict.fromkeys(tokens(text)))
