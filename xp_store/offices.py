"""The tools of the MCP server that judge, move and govern packs, beside those that find them.

`card`, `diff` and `export` read. The others change what is found, and are offered only
where a server is told so (`Offices`): what needs more than a store, such as replays or
the journal, is given by whoever has it.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from repertory.protocol import Identity

from .certificate import ForgetCertificate
from .changes import Finding
from .checker import open_checker
from .errors import BundleError, DraftInvalidError, PackNotFoundError
from .forgetting import Reach
from .lineage import Selector
from .recheck import check_again
from .rights import Request
from .store import PackStore
from .tables import Pack
from .transfer import export_packs, import_packs

Answer: TypeAlias = dict[str, Any]
_MOST = 10_000
_LARGEST = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Meant:
    """What a host asks to forget; `dry` only says what that would be."""

    ids: tuple[str, ...] = ()
    subject: str = ""
    source: str = ""
    query: str = ""
    reason: str = "asked for"
    dry: bool = True


Promote: TypeAlias = Callable[[Sequence[Pack], Identity], Awaitable[Finding]]
Forget: TypeAlias = Callable[[Meant, Identity], Awaitable[tuple[Reach, ForgetCertificate | None]]]


@dataclass(frozen=True, slots=True)
class Offices:
    """What a server may do beyond finding: judge, roll back and import, and what is given here.

    local: whether who is on the server's own pipes may do so; others need a key that
    names the capability, such as `experience.rollback`. promote: replays packs and
    says what was found. forget: how far it reaches, and the certificate unless
    nothing was to be done.
    """

    local: bool = False
    promote: Promote | None = None
    forget: Forget | None = None

    @property
    def tools(self) -> frozenset[str]:
        """The names of the tools that change things."""
        given = {"promote": self.promote, "forget": self.forget}
        return frozenset({"check", "rollback", "import"}) | {k for k, v in given.items() if v}


def _schema(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_ID = {"type": "string", "minLength": 1, "maxLength": 64, "description": "A pack's id."}
_IDS = {"type": "array", "items": _ID, "maxItems": 100}
_NAME = {"type": "string", "minLength": 1, "maxLength": 200}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 1000}
_WHEN = {"type": "string", "maxLength": 40, "description": "`now`, a date or ISO 8601."}
READING: dict[str, tuple[str, dict[str, Any]]] = {
    "card": (
        "A card in Markdown, from the ledger: of a pack, an agent, a model, or of all data.",
        {
            **_schema((), id=_ID, agent=_NAME, model=_NAME, data={"const": True}),
            "minProperties": 1,
            "maxProperties": 1,
        },
    ),
    "diff": (
        "Which packs became stable between two moments, and which no longer are.",
        _schema(("before",), before=_WHEN, after={**_WHEN, "default": "now"}),
    ),
    "export": (
        "A bundle (zip, base64) of the packs whose rights let them leave; says which do not.",
        _schema((), ids=_IDS, family=_NAME, status=_NAME, purpose=_NAME),
    ),
}
GOVERNING: dict[str, tuple[str, dict[str, Any]]] = {
    "check": ("Run a pack's checks again; a flaky one is quarantined.", _schema(("id",), id=_ID)),
    "promote": (
        "Run retained tasks with and without packs; make them stable if that is good enough.",
        _schema(("ids",), ids={**_IDS, "minItems": 1}),
    ),
    "rollback": (
        "Retire a pack, a change or all that a source gave, with everything that came of it.",
        {
            **_schema((), id=_ID, change=_NAME, source=_NAME, reason=_TEXT),
            "oneOf": [{"required": [each]} for each in ("id", "change", "source")],
        },
    ),
    "forget": (
        "Forget packs, what came of them and their tasks, for good, and prove it. Only tells"
        " what would be forgotten unless `dry_run` is false.",
        {
            **_schema(
                (),
                ids={**_IDS, "minItems": 1},
                subject=_TEXT,
                source=_NAME,
                query=_TEXT,
                reason=_TEXT,
                dry_run={"type": "boolean", "default": True},
            ),
            "anyOf": [{"required": [each]} for each in ("ids", "subject", "source", "query")],
        },
    ),
    "import": (
        "Verify a bundle (zip, base64) and take its packs in, quarantined until checked here.",
        _schema(
            ("bundle", "source"),
            bundle={"type": "string", "contentEncoding": "base64", "maxLength": _LARGEST * 4 // 3},
            source={**_NAME, "description": "Whom it is from."},
        ),
    ),
}
DESTRUCTIVE = frozenset({"rollback", "forget"})


class Clerk:
    """Answers the tools of this module for one store."""

    def __init__(self, store: PackStore, offices: Offices) -> None:
        self._store = store
        self._offices = offices
        self.tools: Mapping[str, Callable[[dict[str, Any], Identity], Awaitable[Answer]]] = {
            "card": self._card,
            "diff": self._diff,
            "export": self._export,
            "check": self._check,
            "promote": self._promote,
            "rollback": self._rollback,
            "forget": self._forget,
            "import": self._import,
        }

    async def _readable(self, pack_id: str, identity: Identity) -> Pack:
        pack = await self._store.get(pack_id, tenant=identity.tenant)
        await self._store.require(pack, Request("read", identity.principal))
        return pack

    async def _card(self, given: dict[str, Any], identity: Identity) -> Answer:
        govern, tenant = self._store.govern, identity.tenant
        if "id" in given:
            return {"card": await govern.pack_card(await self._readable(given["id"], identity))}
        if "agent" in given:
            return {"card": await govern.agent_card(given["agent"], tenant=tenant)}
        if "model" in given:
            return {"card": await govern.model_card(given["model"], tenant=tenant)}
        return {"card": await govern.data_statement(tenant=tenant)}

    async def _diff(self, given: dict[str, Any], identity: Identity) -> Answer:
        moments = [self._moment(given[key]) for key in ("before", "after") if key in given]
        moments += [self._store.now()] * (2 - len(moments))
        one, two = [
            await self._store.govern.stable_at(each, tenant=identity.tenant) for each in moments
        ]
        return {
            "became_stable": {each: two[each] for each in sorted(two.keys() - one.keys())},
            "no_longer": {each: one[each] for each in sorted(one.keys() - two.keys())},
        }

    def _moment(self, text: str) -> datetime:
        if text == "now":
            return self._store.now()
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise DraftInvalidError(
                f"{text!r} is no moment: give 'now', a date such as 2026-11-20, or ISO 8601"
            ) from None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    async def _export(self, given: dict[str, Any], identity: Identity) -> Answer:
        tenant = identity.tenant
        if "ids" in given:
            packs = [await self._store.get(each, tenant=tenant) for each in given["ids"]]
        else:
            status = [given["status"]] if "status" in given else None
            packs = await self._store.find(
                tenant=tenant, family=given.get("family"), status=status, limit=_MOST
            )
        request = Request("export", identity.principal, given.get("purpose", ""))
        done = await export_packs(
            self._store, packs, request=request, tenant=tenant, actor=identity.principal
        )
        if len(done.data) > _LARGEST:
            raise BundleError(
                f"the bundle has {len(done.data)} bytes, and a tool's answer may have {_LARGEST}:"
                " name fewer packs, or use `repertory xp export`"
            )
        return {
            "packs": done.packs,
            "sha256": done.digest,
            "bundle": base64.b64encode(done.data).decode() if done.packs else "",
            "left_out": [{"id": each, "reason": reason} for each, reason in done.left_out],
        }

    async def _check(self, given: dict[str, Any], identity: Identity) -> Answer:
        pack = await self._readable(given["id"], identity)
        async with open_checker() as checker:
            found = await check_again(
                self._store, pack, checker, tenant=identity.tenant, actor=identity.principal
            )
        after = await self._store.get(pack.id, tenant=identity.tenant)
        return {
            "trust": after.trust,
            "checks": [
                {"check": each.check, "verdict": each.verdict, "about": each.about}
                for each in found
            ],
        }

    async def _promote(self, given: dict[str, Any], identity: Identity) -> Answer:
        assert self._offices.promote is not None
        packs = [await self._readable(each, identity) for each in dict.fromkeys(given["ids"])]
        return dict((await self._offices.promote(packs, identity)).wire())

    async def _rollback(self, given: dict[str, Any], identity: Identity) -> Answer:
        selector, change = None, given.get("change", "")
        if not change:
            ids = ((await self._readable(given["id"], identity)).id,) if "id" in given else ()
            selector = Selector(ids=ids, source=given.get("source", ""))
            reach = await self._store.govern.meant(selector, tenant=identity.tenant)
            if not reach.meant:
                raise PackNotFoundError(f"no pack is meant by {selector}")
        retired = await self._store.govern.rollback(
            tenant=identity.tenant,
            actor=identity.principal,
            change=change,
            selector=selector,
            reason=given.get("reason", "rolled back"),
        )
        return {"retired": retired}

    async def _forget(self, given: dict[str, Any], identity: Identity) -> Answer:
        assert self._offices.forget is not None
        asked = Meant(
            tuple(given.get("ids", ())),
            given.get("subject", ""),
            given.get("source", ""),
            given.get("query", ""),
            given.get("reason", "asked for"),
            given.get("dry_run", True),
        )
        reach, issued = await self._offices.forget(asked, identity)
        certificate = None if issued is None else issued.model_dump(mode="json")
        return {**reach.wire(), "certificate": certificate}

    async def _import(self, given: dict[str, Any], identity: Identity) -> Answer:
        try:
            data = base64.b64decode(given["bundle"], validate=True)
        except binascii.Error as error:
            raise BundleError(f"the bundle is no base64: {error}") from None
        done = await import_packs(
            self._store,
            data,
            source=given["source"],
            tenant=identity.tenant,
            actor=identity.principal,
        )
        return {"imported": list(done.ids), "known": done.known, "sha256": done.digest}
