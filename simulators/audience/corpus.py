"""Crowd judgments of texts in pairs, read from a folder laid out like UKPConvArg1.

The folder holds `arguments.csv`, `pairs.csv`, `strict_labels.csv` and `votes.csv`,
each plain or gzipped (Habernal and Gurevych 2016, CC BY 4.0). What is measured on
them is `agreement`'s, what is learned from them `training`'s.
"""

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repertory.simulators import SimulatorInputError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Words = npt.NDArray[np.str_]

_COLUMNS = {
    "arguments": ("topic", "arg", "text"),
    "strict_labels": ("topic", "pair", "label"),
    "votes": ("topic", "pair", "worker", "value", "stance"),
}
_SHARE = {"a1": 1.0, "a2": 0.0, "equal": 0.5}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Judged pairs: indices of two texts, and what went to the first, each of shape (n,).

    share: 1 where the first won, 0 where the second did, ½ for a tie.
    """

    first: Indices
    second: Indices
    share: Floats

    def __len__(self) -> int:
        return len(self.first)

    def where(self, mask: npt.NDArray[np.bool_]) -> "Pairs":
        """The pairs that `mask`, of shape (n,), keeps."""
        return Pairs(self.first[mask], self.second[mask], self.share[mask])


@dataclass(frozen=True)
class Corpus:
    """Texts in topics, single votes on pairs of them, and the pairs with a strict label.

    texts, topics: one per text. votes: one per vote; voters and stances (same,
    opposite, none or "") beside it. strict: one per labelled pair.
    """

    texts: tuple[str, ...]
    topics: Words
    votes: Pairs
    voters: Words
    stances: Words
    strict: Pairs

    @cached_property
    def debates(self) -> Words:
        """The debate of each text: its topic without the side, which follows the last `_`."""
        return np.array([topic.rpartition("_")[0] or topic for topic in self.topics])

    @cached_property
    def lengths(self) -> Floats:
        """Characters of each text."""
        return np.array([len(text) for text in self.texts], float)

    def titles(self) -> list[str]:
        """The question of each text, as its topic's name says it."""
        return [topic.replace("-", " ").replace("_", " ").strip() for topic in self.topics]

    def only(self, topics: Sequence[str]) -> "Corpus":
        """The part of the corpus in `topics`, in its order."""
        kept = np.isin(self.topics, list(topics))
        place = np.cumsum(kept) - 1

        def moved(pairs: Pairs, mask: npt.NDArray[np.bool_]) -> Pairs:
            part = pairs.where(mask)
            return Pairs(place[part.first], place[part.second], part.share)

        voted = kept[self.votes.first]
        return Corpus(
            tuple(text for text, keep in zip(self.texts, kept, strict=True) if keep),
            self.topics[kept],
            moved(self.votes, voted),
            self.voters[voted],
            self.stances[voted],
            moved(self.strict, kept[self.strict.first]),
        )


def load_corpus(folder: str | Path) -> Corpus:
    """Read the folder.

    Raises:
        SimulatorInputError: A file or column is missing, or a row names an unknown text.
    """
    root = Path(folder)
    arguments = list(_rows(root, "arguments"))
    place = {(row["topic"], row["arg"]): i for i, row in enumerate(arguments)}
    if not arguments:
        raise SimulatorInputError(f"{root}/arguments.csv holds no text", folder=str(root))
    labels = list(_rows(root, "strict_labels"))
    votes = list(_rows(root, "votes"))
    return Corpus(
        tuple(row["text"] for row in arguments),
        np.array([row["topic"] for row in arguments]),
        _pairs(root, "votes", [(r["topic"], r["pair"], r["value"]) for r in votes], place),
        np.array([row["worker"] for row in votes], dtype=str),
        np.array([row["stance"] for row in votes], dtype=str),
        _pairs(root, "strict_labels", [(r["topic"], r["pair"], r["label"]) for r in labels], place),
    )


def _pairs(
    root: Path,
    name: str,
    rows: Sequence[tuple[str, str, str]],
    place: dict[tuple[str, str], int],
) -> Pairs:
    first, second, share = [], [], []
    for line, (topic, pair, value) in enumerate(rows, start=2):
        a, _, b = pair.partition("_")
        known = (topic, a) in place and (topic, b) in place
        if not known or value not in _SHARE:
            wrong = f"value {value!r}, not a1, a2 or equal" if known else f"no text for {pair!r}"
            raise SimulatorInputError(
                f"{root}/{name}.csv, line {line}: {wrong} in topic {topic!r}", folder=str(root)
            )
        first.append(place[topic, a])
        second.append(place[topic, b])
        share.append(_SHARE[value])
    return Pairs(np.array(first, np.intp), np.array(second, np.intp), np.array(share, float))


def _rows(root: Path, name: str) -> Iterator[dict[str, str]]:
    packed, plain = root / f"{name}.csv.gz", root / f"{name}.csv"
    path = packed if packed.is_file() else plain
    if not path.is_file():
        raise SimulatorInputError(
            f"{root} has no {name}.csv or {name}.csv.gz; it should be laid out like UKPConvArg1",
            folder=str(root),
        )
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8", newline="")
            if path is packed
            else path.open(encoding="utf-8", newline="")
        ) as file:
            reader = csv.DictReader(file)
            missing = [c for c in _COLUMNS[name] if c not in (reader.fieldnames or ())]
            if missing:
                raise SimulatorInputError(
                    f"{path} has no column {missing[0]!r}; it has {reader.fieldnames}",
                    folder=str(root),
                )
            yield from reader
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise SimulatorInputError(f"{path} cannot be read: {error}", folder=str(root)) from None
