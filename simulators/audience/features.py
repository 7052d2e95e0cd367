"""What can be counted in a text without understanding it: the judge's surface features.

Length, readability, discourse markers, stance words, structure and spelling, each a
plain number. The choice and the word lists are ours; readability is Flesch (1948)
and Kincaid et al. (1975) with syllables counted as groups of vowels.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_WORD = re.compile(r"[A-Za-z][A-Za-z']*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_VOWELS = re.compile(r"[aeiouy]+")

# What a group of words does in a text; a count and a rate of each are features.
_GROUPS = {
    "causes": "because since therefore thus hence consequently so as due thereby accordingly cause"
    " causes caused result results reason reasons lead leads",
    "contrasts": "but however although though while whereas despite yet nevertheless rather"
    " instead unless otherwise still",
    "conditions": "if when whenever unless suppose would could might",
    "examples": "example instance such like including namely specifically especially",
    "sequence": "first second third firstly secondly finally then next also moreover furthermore"
    " addition additionally another lastly",
    "evidence": "study studies research researchers evidence according report reports statistics"
    " percent data survey found shows show proven proof fact facts university scientists"
    " scientific expert experts source article million billion",
    "demands": "must should need needs ought have shall cannot never always",
    "hedges": "maybe perhaps possibly may might could seems seem probably likely generally usually"
    " often sometimes",
    "speaker": "i me my mine myself im i'm i've i'd i'll",
    "us": "we us our ours ourselves",
    "reader": "you your yours yourself u ur you're youre",
    "others": "he she they them their his her him it its",
    "negations": "not no never nothing none nobody neither nor cannot can't don't doesn't won't"
    " isn't aren't wasn't didn't wouldn't shouldn't dont cant wont doesnt didnt isnt",
    "values": "right rights wrong moral morals morally ethical justice fair freedom life human"
    " humans society law laws legal responsibility duty respect trust love family child children"
    " health healthy safety safe",
    "praise": "good great better best benefit benefits helpful help helps important useful"
    " effective love happy success successful improve improves positive valuable enjoy well",
    "harm": "bad worse worst harm harmful hurt hurts dangerous danger problem problems evil kill"
    " killed murder hate fail failure terrible horrible sad pain suffer abuse violence violent"
    " crime negative",
    "insults": "stupid idiot idiots dumb ignorant moron crap shit fuck hell damn ass lol lmao haha"
    " wtf bs retarded ridiculous sucks suck loser shut",
    "chat": "u ur r lol omg gonna wanna gotta cuz bc thx plz k ok yeah yea nah lmao haha wat dat"
    " tho thru coz im dont cant wont ive didnt doesnt isnt youre thats theres shouldnt wouldnt"
    " couldnt hes shes theyre ppl alot",
    "grammar": "the of and to a in that is for on with as by at from this an be are was were which"
    " who or their its",
    "opinions": "think believe feel opinion agree disagree know say guess sure imho personally",
    "questions": "why how what who where which",
}
_LISTS = {name: frozenset(words.split()) for name, words in _GROUPS.items()}
_PHRASES = re.compile(
    r"for (example|instance)|such as|in fact|in addition|as a result|in order to|on the other hand"
    r"|not only|even if|due to|in conclusion"
)
# What is counted as it stands; the logarithm of one more than the count is the feature.
_MARKS = {
    "question marks": r"\?",
    "exclamation marks": r"!",
    "quotation marks": r'"',
    "brackets": r"\(",
    "colons": r"[;:]",
    "numbers": r"\d+",
    "capitals": r"\b[A-Z]{3,}\b",
    "small i": r"\bi\b",
    "doubled marks": r"[!?.,]{2,}",
    "missing spaces": r"[a-z][,.!?;][A-Za-z]",
    "spaces before marks": r"\s[,.!?;]",
    "paragraphs": r"\n",
    "stretched words": r"([A-Za-z])\1{2,}",
    "names": r"(?<=[a-z,] )[A-Z][a-z]+",
}
_PATTERNS = {name: re.compile(pattern) for name, pattern in _MARKS.items()}


def words_in(text: str) -> list[str]:
    """The words of `text` in small letters."""
    return [word.lower() for word in _WORD.findall(text.replace("’", "'"))]


def sentences_in(text: str) -> list[str]:
    """The sentences of `text`, split at end marks and line breaks."""
    return [part.strip() for part in _SENTENCE.split(text.strip()) if part.strip()]


def surface(text: str) -> dict[str, float]:
    """The features of one text by name, in a fixed order."""
    plain = text.replace("’", "'").strip()
    words, sentences = words_in(plain), sentences_in(plain) or [plain]
    return {
        **_size(plain, words, sentences),
        **_form(plain, words, sentences),
        **_markers(plain, words),
    }


def _size(text: str, words: Sequence[str], sentences: Sequence[str]) -> dict[str, float]:
    n, distinct = max(1, len(words)), len(set(words))
    long = sum(len(word) > 6 for word in words)
    syllables = sum(max(1, len(_VOWELS.findall(word))) for word in words)
    pace, beat = n / len(sentences), syllables / n
    return {
        "characters": math.log1p(len(text)),
        "words": math.log1p(len(words)),
        "words, root": math.sqrt(len(words)),
        "sentences": math.log1p(len(sentences)),
        "words per sentence": math.log1p(pace),
        "letters per word": sum(map(len, words)) / n,
        "long words": math.log1p(long),
        "share of long words": long / n,
        "share of very long words": sum(len(word) > 9 for word in words) / n,
        "share of distinct words": distinct / n,
        "distinct words": math.log1p(distinct),
        "distinct words, root": distinct / math.sqrt(n),
        "reading ease": max(-50.0, min(130.0, 206.835 - 1.015 * pace - 84.6 * beat)) / 50,
        "reading grade": min(30.0, 0.39 * pace + 11.8 * beat - 15.59) / 10,
    }


def _form(text: str, words: Sequence[str], sentences: Sequence[str]) -> dict[str, float]:
    letters = [each for each in text if each.isalpha()]
    small_starts = sum(sentence[:1].islower() for sentence in sentences)
    return {
        "share of commas": text.count(",") / max(1, len(words)),
        "questions per sentence": text.count("?") / len(sentences),
        "exclamations per sentence": text.count("!") / len(sentences),
        "a link": float(bool(re.search(r"https?:|www\.", text))),
        "share of capital letters": sum(x.isupper() for x in letters) / max(1, len(letters)),
        "small starts": small_starts / len(sentences),
        "a capital start": float(text[:1].isupper()),
        "an end mark": float(bool(text) and text[-1] in '.!?")'),
        **{name: math.log1p(len(each.findall(text))) for name, each in _PATTERNS.items()},
    }


def _markers(text: str, words: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, members in _LISTS.items():
        count = sum(word in members for word in words)
        found[name] = math.log1p(count)
        found[f"share of {name}"] = count / max(1, len(words))
    found["phrases that connect"] = math.log1p(len(_PHRASES.findall(text.lower())))
    return found


SURFACE = tuple(surface(""))
# What says how much there is of a text; the judge without them is the control for length.
LENGTH = (
    *("characters", "words", "words, root", "sentences", "long words"),
    *("distinct words", "distinct words, root"),
)


def surface_matrix(texts: Sequence[str]) -> Floats:
    """The features of `texts`, shape (len(texts), len(SURFACE))."""
    rows = [list(surface(text).values()) for text in texts]
    return np.array(rows, float).reshape(len(texts), len(SURFACE))
