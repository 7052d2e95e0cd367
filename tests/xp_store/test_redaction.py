"""Redaction: what rules find is not stored, and persons can be found by their keyed hash."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal

import pytest

from repertory.xp_store import (
    DEFAULT_RULES,
    PATTERNS,
    Claim,
    DraftInvalidError,
    Keys,
    PackDraft,
    PackStore,
    Redactor,
    Rule,
    Selector,
    StepDraft,
    StoreError,
    load_keys,
)

from .conftest import NOW

MakeDraft = Callable[..., PackDraft]
OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]
DOES: tuple[Literal["hash"], Literal["drop"]] = ("hash", "drop")
KEYS = Keys(b"k" * 32)

FOUND = {
    "secret": [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "xoxb-123456789012-abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
    "email": ["jane.doe+x@mail.example.org", "Ä.b@ümlaut.example"],
    "iban": ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004"],
    "phone": ["+49 30 1234567", "0044 (20) 7946 0958"],
    "ip": ["192.168.17.4"],
}
LEFT = [
    "invoice 2026-11-22-0017 over 12,345.67 EUR",
    "DE89370400440532013001",
    "4111 1111 1111 1112",
    "version 1.2.3.4.5",
    "order 123456789012",
    "see paragraph 12 (3) and 4711 stones",
]


@pytest.mark.parametrize("kind", FOUND)
def test_what_a_rule_is_for_is_found_and_nothing_of_it_stays(
    make_draft: MakeDraft, kind: str
) -> None:
    """Ours: in every text of a draft, and by its checksum where it has one."""
    for text in FOUND[kind]:
        step = StepDraft({"kind": "tool", "name": "t", "args": {"a": [text]}}, text, NOW, "a", text)
        given = make_draft(text, situation=f"<{text}>", why=(Claim(text),), steps=(step,))
        for do in DOES:
            rule = Rule(kind, do)
            kept = Redactor([rule], KEYS.pseudonym).apply(given)
            assert text not in repr(kept), (text, do)
            assert bool(kept.rights.subjects) == (do == "hash")
            assert kept.steps[0].action["args"]["a"] == [kept.goal]


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_like_it_is_left(make_draft: MakeDraft, text: str) -> None:
    """Ours: an invoice number that vanished would make packs useless."""
    rules = [Rule(name) for name in PATTERNS]
    assert Redactor(rules, KEYS.pseudonym).apply(make_draft(text)).goal == text


def test_the_password_goes_and_its_name_stays(make_draft: MakeDraft) -> None:
    """Ours: a step stays readable without its secret."""
    kept = Redactor(DEFAULT_RULES, KEYS.pseudonym).apply(
        make_draft("login with password=hunter22 and Authorization: Bearer abcdef0123456789")
    )
    assert kept.goal == "login with password=[secret] and Authorization: Bearer [secret]"


async def test_a_person_is_found_and_forgotten_by_the_hash_of_the_address(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: nobody keeps the address, and it still finds its packs, however it is written."""
    rules = [Rule("email"), Rule(r"K-\d{5}", name="customer")]
    async with open_store(redactor=Redactor(rules, KEYS.pseudonym)) as store:
        await store.record(make_draft("write to jane@mail.example, K-12345"))
        other = await store.record(make_draft("write to john@mail.example"))
        hashed = KEYS.pseudonym(" Jane@Mail.Example")
        certificate = await store.govern.forget(
            Selector(subjects=(hashed,)), tenant="default", actor="officer"
        )
        assert certificate.complete, certificate.model_dump_json()
        assert [pack.id for pack in await store.find()] == [other.id]


async def test_a_pack_about_a_person_has_a_salt_that_goes_with_it(
    store: PackStore, make_draft: MakeDraft, open_store: OpenStore
) -> None:
    """Ours: the ledger keeps a digest of what was forgotten, and it must not confirm a guess."""
    async with open_store(redactor=Redactor([Rule("email")], KEYS.pseudonym)) as held:
        one, two = [await held.record(make_draft("mail jane@mail.example")) for _ in range(2)]
        assert one.digest != two.digest
        assert (await held.verify_ledger()).intact
        plain = [await held.record(make_draft("mail nobody")) for _ in range(2)]
        assert plain[0].digest == plain[1].digest


def test_a_rule_that_is_no_pattern_is_refused() -> None:
    """Ours: the sentence names the rule and what is known."""
    with pytest.raises(
        DraftInvalidError, match=r"the rule '\(' finds nothing: .* known by name: secret"
    ):
        Redactor([Rule("(")], KEYS.pseudonym)


def test_the_key_lies_beside_the_store_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: made once, read again, never world-readable, and given from outside where wanted."""
    store = str(tmp_path / "store.db")
    first = load_keys(store)
    file = tmp_path / "store.db.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_keys(store).public == first.public
    assert first.seed.hex() not in repr(first)
    monkeypatch.setenv("REPERTORY_STORE_KEY", "ab" * 32)
    assert load_keys(store).public != first.public
    monkeypatch.setenv("REPERTORY_STORE_KEY", "short")
    with pytest.raises(StoreError, match="must be 64 hexadecimal digits"):
        load_keys(store)
