"""From a turn's journal to a pack's draft: WHY, HOW and CHECK, never by the agent's word.

Every step that the journal knows becomes a step of the pack; claims come from
`Turn.note`, each supported by the step that followed it; verdicts are those of
checks that ran. The outcome passes only if checks ran and none failed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from repertory.agents import ToolSpec, result_of
from repertory.protocol import Message, TaskState
from repertory.xp_store import (
    CheckSpec,
    Claim,
    Cost,
    Origin,
    Outcome,
    PackDraft,
    PackRef,
    StepDraft,
    Verdict,
)

from .journal import StepRecord
from .record import TaskRecord

if TYPE_CHECKING:
    from .host import AgentHost
    from .turn import RunningTurn

_ACTION_KIND = {
    "tool": "tool",
    "ask": "message",
    "tell": "message",
    "person": "message",
    "chat": "llm",
    "text_completion": "llm",
    "check": "decision",
    "recall": "decision",
}
# What one step keeps of a long observation, in characters.
_OBSERVATION = 4000
# The longest text of what a step asked for; attachments are known by their digest.
_ASKED = 16_000
_GOAL = 400
# And of what was known before it.
_STATE = 400


def pack_draft(
    host: "AgentHost",
    turn: "RunningTurn",
    record: TaskRecord,
    state: TaskState,
    message: Message | None,
    *,
    status: Literal["candidate", "quarantined"],
) -> PackDraft:
    """The episode of one task, as its journal tells it."""
    done = sorted(turn.effects.done, key=lambda step: step.number)
    acted = [step for step in done if step.kind in _ACTION_KIND]
    # A check of what the agent was given says nothing about how well it worked.
    judged = [s for s in done if s.kind == "check" and s.request["judges"] == "result"]
    verdicts = tuple(Verdict.parse(step.result) for step in judged)
    checks = tuple(
        CheckSpec(step.request["name"], step.request["lang"], step.request["code"])
        for step in judged
    )
    spent = turn.spent
    started = done[0].started_at if done else record.created_at
    now = datetime.now(UTC)
    experience = host.network.manifest.experience
    working = host.entry.memory.layer == "working"
    return PackDraft(
        tenant=record.tenant,
        owner=record.agent,
        goal=_words(record.message)[:_GOAL],
        situation=_words(record.message)[:_OBSERVATION],
        family=host.family,
        why=tuple(_claims(done, acted)),
        layer=host.entry.memory.layer,
        valid_to=now + timedelta(hours=experience.working_hours) if working else None,
        rights=experience.rights.at(now),
        steps=tuple(_steps(acted, record)),
        how=_result(record, state, message),
        checks=checks,
        verdicts=verdicts,
        outcome=Outcome(
            verdict=_verdict(state, verdicts),
            cost=Cost(
                tokens_in=spent.tokens_in,
                tokens_out=spent.tokens_out,
                calls=spent.calls,
                usd=spent.usd,
                seconds=max(0.0, now.timestamp() - started),
            ),
        ),
        origin=_origin(host, turn, record, done),
        status=status,
        used=() if turn.withholds else _used(done),
        recalled=() if turn.withholds else _recalled(done),
        withheld=_recalled(done) if turn.withholds else (),
        span_id=turn.span_id,
        reason=f"task {record.id} ended {state.name}",
    )


def _steps(acted: Sequence[StepRecord], record: TaskRecord) -> Iterator[StepDraft]:
    """Every step with what was known before it, and with what was tried in its place and failed."""
    known = _words(record.message)
    failed: list[StepRecord] = []
    for step in acted:
        tried = [each for each in failed if each.kind == step.kind and each.name == step.name]
        yield _step(step, record.agent, known[:_STATE], tried)
        known = _text(step.result)
        if step.is_error and step.kind == "tool":
            failed.append(step)
        else:
            failed = [each for each in failed if each not in tried]


def _step(step: StepRecord, agent: str, state: str, tried: Sequence[StepRecord]) -> StepDraft:
    return StepDraft(
        state=state,
        alternatives=tuple(
            {
                "action": {
                    "kind": _ACTION_KIND[each.kind],
                    "name": each.name,
                    "args": _kept(each.request),
                },
                "observation": _text(each.result)[:_STATE],
                "source": "real",
            }
            for each in tried
        ),
        action={"kind": _ACTION_KIND[step.kind], "name": step.name, "args": _kept(step.request)},
        observation=_text(step.result)[:_OBSERVATION],
        at=datetime.fromtimestamp(step.started_at, UTC),
        agent=agent,
        is_error=step.is_error,
        span_id=step.span_id,
    )


def _kept(asked: Any) -> Any:
    """What a step asked for, with each very long text in it as its digest and length."""
    if isinstance(asked, str):
        if len(asked) <= _ASKED:
            return asked
        return f"sha256:{sha256(asked.encode()).hexdigest()} of {len(asked)} characters"
    if isinstance(asked, Mapping):
        return {key: _kept(value) for key, value in asked.items()}
    if isinstance(asked, (list, tuple)):
        return [_kept(value) for value in asked]
    return asked


def _claims(done: list[StepRecord], acted: list[StepRecord]) -> Iterator[Claim]:
    """Each note with its evidence: the step that followed it, else the last one before it.

    One about a tool, a check or a peer is supported by that one's steps alone.
    """
    taken: set[int] = set()
    for note in done:
        if note.kind != "note":
            continue
        about = note.request.get("about")
        fitting = [
            (at, step.number > note.number)
            for at, step in enumerate(acted)
            if not about or (step.name == about and at not in taken)
        ]
        before = [at for at, later in fitting if not later]
        at = next((at for at, later in fitting if later), before[-1] if before else None)
        if about and at is not None:
            taken.add(at)
        yield Claim(str(note.request["why"]), () if at is None else (at,))


def _words(message: Message) -> str:
    """What a message says, for search: its text, else its data."""
    return message.text or _text(message.data)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _result(
    record: TaskRecord, state: TaskState, message: Message | None
) -> Mapping[str, Any] | None:
    """What came of the steps, so that a reader need not replay them: the result, or what failed."""
    if state is not TaskState.COMPLETED:
        return {"failure": message.text} if message is not None else None
    task = record.snapshot()
    status = task.status.model_copy(update={"message": message})
    result = result_of(task.model_copy(update={"status": status}))
    return None if result is None else {"result": result}


def _verdict(state: TaskState, verdicts: tuple[Verdict, ...]) -> Literal["pass", "fail", "unknown"]:
    decided = [verdict.passed for verdict in verdicts if verdict.passed is not None]
    if not decided:
        return "unknown"
    return "pass" if all(decided) and state is TaskState.COMPLETED else "fail"


def _version(spec: ToolSpec) -> str:
    """A tool's version is the digest of how it describes itself."""
    described = [spec.description, spec.input_schema, spec.output_schema]
    return sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _used(done: list[StepRecord]) -> tuple[PackRef, ...]:
    """Those that the handler named; all that it was given when it named none."""
    recalled = _recalled(done)
    named = [step for step in done if step.kind == "use"]
    if not named:
        return recalled
    used = {pack for step in named for pack in step.request["packs"]}
    return tuple(ref for ref in recalled if ref.id in used)


def _recalled(done: list[StepRecord]) -> tuple[PackRef, ...]:
    found: dict[str, PackRef] = {}
    for step in done:
        if step.kind == "recall":
            for hit in step.result:
                pack = hit["pack"]
                found[pack["id"]] = PackRef(pack["id"], pack["rev"], pack["digest"])
    return tuple(found.values())


def _origin(
    host: "AgentHost", turn: "RunningTurn", record: TaskRecord, done: list[StepRecord]
) -> Origin:
    asked = next((step for step in done if step.kind == "chat"), None)
    return Origin(
        trace_id=turn.trace_id,
        a2a_task_id=record.id,
        model=next(iter(turn.models), ""),
        model_params={
            key: asked.request[key]
            for key in ("temperature", "max_tokens")
            if asked is not None and key in asked.request
        },
        prompt_digest=asked.key.split(":")[1] if asked is not None else "",
        tool_versions={name: _version(spec) for name, spec in host.tool_specs.items()},
        seed=asked.request.get("seed") if asked is not None else None,
        principal=record.principal,
    )
