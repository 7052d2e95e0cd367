"""Digests: RFC 8785, whichever of the two ways makes them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from repertory.xp_store import digest_of
from repertory.xp_store.digests import canonical, cleaned, instant

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)


@given(json_values)
def test_canonical_json_is_what_the_standard_says(value: Any) -> None:
    """Spec: RFC 8785; the fast way agrees with the reference wherever it is taken."""
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(keys, scalars, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    """Spec: RFC 8785, section 3.2.3: keys are sorted."""
    items = list(value.items())
    random.shuffle(items)
    assert digest_of(dict(items)) == digest_of(value)


@given(json_values, json_values)
def test_other_content_has_another_digest(one: Any, other: Any) -> None:
    """Ours: a digest names its content."""
    assert (digest_of(one) == digest_of(other)) == (rfc8785.dumps(one) == rfc8785.dumps(other))


def test_a_frozen_mapping_is_as_good_as_a_dict() -> None:
    """Ours: drafts may hold any mapping."""
    frozen: Mapping[str, Any] = MappingProxyType({"ä": MappingProxyType({"b": (1, 2)})})
    assert digest_of(frozen) == digest_of({"ä": {"b": [1, 2]}})


@pytest.mark.parametrize("value", [2**53, float("nan"), b"bytes", {"a": {1: 2}}, "\ud800"])
def test_what_is_no_json_has_no_digest(value: Any) -> None:
    """Spec: RFC 8785 is for I-JSON: no large integers, no NaN, no half characters."""
    with pytest.raises(ValueError):
        digest_of(value)


def test_what_is_no_json_can_be_said_in_words_that_are() -> None:
    """Ours: what a tool answered must not keep its task from being recorded."""
    value = {"big": 2**60, "nan": float("nan"), 3: "half \ud800", "fine": [1, True, 0.5]}
    assert cleaned(value) == {
        "big": str(2**60),
        "nan": None,
        "3": "half \ufffd",
        "fine": [1, True, 0.5],
    }
    digest_of(cleaned(value))


@given(st.datetimes(), st.datetimes())
def test_moments_sort_as_text_as_they_do_in_time(one: datetime, other: datetime) -> None:
    """Ours: SQL compares the texts."""
    aware = [each.replace(tzinfo=UTC) for each in (one, other)]
    assert (instant(aware[0]) < instant(aware[1])) == (aware[0] < aware[1])


def test_a_moment_is_the_same_in_every_zone() -> None:
    """Ours: one moment, one text."""
    zone = timezone(timedelta(hours=2))
    assert instant(datetime(2026, 1, 1, 2, tzinfo=zone)) == "2026-01-01T00:00:00.000000Z"
