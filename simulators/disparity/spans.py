"""OpenTelemetry spans as events: OTLP's JSON, and rows of a network's own span store.

The actor of a span is the agent it names, or the nearest agent above it in its
trace; without one its service. The stage of the network behavior lifecycle is the
attribute `lifecycle.stage`, or what kind of span it is (`STAGE_OF`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .events import Event

STAGES = (
    "target confirmation",
    "information gathering",
    "reasoning process",
    "decision mechanism",
    "action execution",
    "feedback acquisition",
)
"""The six stages of the network behavior lifecycle (arXiv 2508.14415), in its order."""

STAGE_OF: Mapping[str, str] = {
    "invoke_workflow": STAGES[0],
    "invoke_agent": STAGES[0],
    "create_agent": STAGES[0],
    "search_memory": STAGES[1],
    "embeddings": STAGES[1],
    "retrieval": STAGES[1],
    "chat": STAGES[2],
    "generate_content": STAGES[2],
    "plan": STAGES[2],
    "text_completion": STAGES[3],
    "check": STAGES[3],
    "execute_tool": STAGES[4],
    "SendMessage": STAGES[4],
    "create_memory": STAGES[5],
    "update_memory": STAGES[5],
    "upsert_memory": STAGES[5],
    "delete_memory": STAGES[5],
}
"""The stage of a span by its operation, where it names none itself; the mapping is ours."""

_ACTORS = ("gen_ai.agent.name", "enduser.id", "user.id", "actor")
_OBJECTS = ("a2a.task.id", "gen_ai.conversation.id", "case", "object")


def stage_named(word: str) -> str:
    """The stage that a log's word means: its name, its first word, or its number from 1."""
    said = word.strip().lower()
    if said.isdigit() and 1 <= int(said) <= len(STAGES):
        return STAGES[int(said) - 1]
    return next((s for s in STAGES if said and said.split()[0] == s.split()[0]), said)


def events_of_spans(spans: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """The events of spans as a network's store keeps them (`Runner.spans`); unended ones too."""
    rows = list(spans)
    above = {(row["trace_id"], row["span_id"]): row for row in rows}
    plans = {str(row["attributes"].get("a2a.task.id")) for row in rows if _plan_of(row)}
    for row in rows:
        event = event_of_span(row, _actor_above(row, above))
        if event.stage == STAGES[4] and event.object in plans:
            event = event._replace(plan=event.object)
        yield event
        for step in _plan_of(row):
            yield event._replace(
                action=step, plan=event.object, object="", planned=True, outcome="", stage=STAGES[2]
            )


def _plan_of(row: Mapping[str, Any]) -> Sequence[str]:
    """What an agent declared in its turn (`Turn.declare`)."""
    steps = row["attributes"].get("plan.steps")
    return [str(step) for step in steps] if isinstance(steps, list | tuple) else []


def event_of_span(row: Mapping[str, Any], actor: str) -> Event:
    """One span as an event of `actor`, unless it says itself who did it."""
    facts: Mapping[str, Any] = row["attributes"]
    operation = _operation(row)
    end = row.get("end_ns")
    failed = row.get("status") in ("ERROR", 2, "STATUS_CODE_ERROR") or facts.get("error.type")
    if end is None:
        outcome = ""
    else:
        outcome = f"error {facts.get('error.type', '')}".strip() if failed else "ok"
    return Event(
        actor=actor,
        time=row["start_ns"] / 1e9,
        action=_action(row, operation),
        object=next((str(facts[key]) for key in _OBJECTS if facts.get(key)), row["trace_id"]),
        state=str(facts.get("state", "")),
        outcome=outcome,
        plan=str(facts.get("plan.id", "")),
        stage=stage_named(str(facts["lifecycle.stage"]))
        if facts.get("lifecycle.stage")
        else STAGE_OF.get(operation, ""),
        role=str(facts.get("role", "")),
        end=end / 1e9 if end else float("nan"),
        planned=facts.get("planned") is True,
    )


def _operation(row: Mapping[str, Any]) -> str:
    facts = row["attributes"]
    told = facts.get("gen_ai.operation.name") or facts.get("a2a.method.name")
    return str(told or str(row["name"]).partition(" ")[0])


def _action(row: Mapping[str, Any], operation: str) -> str:
    facts = row["attributes"]
    target = facts.get("gen_ai.tool.name")
    if operation == "SendMessage":
        target = facts.get("gen_ai.agent.name")
    return f"{operation} {target}" if target else operation


def _actor_above(row: Mapping[str, Any], above: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """The actor of a span: its own word, the nearest agent above, or its service.

    A message that leaves (CLIENT) names the peer that is asked, so its actor is above it.
    """
    at: Mapping[str, Any] | None = row
    seen = set()
    while at is not None and (key := (at["trace_id"], at["span_id"])) not in seen:
        seen.add(key)
        if not (at["attributes"].get("a2a.method.name") and at.get("kind") != "SERVER"):
            said = next((at["attributes"][k] for k in _ACTORS if at["attributes"].get(k)), "")
            if said:
                return str(said)
        at = above.get((at["trace_id"], at["parent_id"]))
    named = row["attributes"].get("gen_ai.workflow.name") or row["attributes"].get("service.name")
    return str(named or "")


def rows_of_otlp(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The spans of one OTLP/JSON export request, as rows like those of a network's store."""
    for resource in _listed(request, "resourceSpans"):
        of = _attributes(resource.get("resource", {}).get("attributes", ()))
        for scope in _listed(resource, "scopeSpans"):
            for span in _listed(scope, "spans"):
                facts = _attributes(span.get("attributes", ()))
                if "service.name" in of:
                    facts.setdefault("service.name", of["service.name"])
                end = int(span.get("endTimeUnixNano") or 0)
                status = span.get("status", {}).get("code", 0)
                yield {
                    "trace_id": str(span.get("traceId", "")),
                    "span_id": str(span.get("spanId", "")),
                    "parent_id": str(span.get("parentSpanId", "")),
                    "name": str(span.get("name", "")),
                    "kind": {3: "CLIENT", 2: "SERVER"}.get(span.get("kind", 0), span.get("kind")),
                    "start_ns": int(span.get("startTimeUnixNano") or 0),
                    "end_ns": end or None,
                    "status": "ERROR" if status in (2, "STATUS_CODE_ERROR") else "UNSET",
                    "attributes": facts,
                }


def _listed(value: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = value.get(key, ())
    return found if isinstance(found, list) else ()


def _attributes(pairs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {str(pair.get("key", "")): _value(pair.get("value", {})) for pair in pairs}


def _value(value: Mapping[str, Any]) -> Any:
    for kind in ("stringValue", "boolValue", "doubleValue"):
        if kind in value:
            return value[kind]
    if "intValue" in value:
        return int(value["intValue"])
    return None
