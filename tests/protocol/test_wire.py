from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from a2a.types import a2a_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict, MessageToJson, ParseDict
from google.protobuf.message import Message as Proto
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from repertory import protocol
from repertory.protocol import (
    AgentCard,
    Artifact,
    EventPage,
    GetTaskRequest,
    InvalidParamsError,
    ListTasksRequest,
    Message,
    NumberedEvent,
    Part,
    Role,
    SecurityScheme,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskState,
    TaskStatus,
)
from repertory.protocol.wire import WireModel, camel_case, json_value, rfc3339
from tests.claims import claim

NAMES = sorted(a2a_pb2.DESCRIPTOR.message_types_by_name)
OURS_ALONE = {"NumberedEvent", "EventPage"}

# What ParseDict stores is a double, so larger whole numbers do not come back from protobuf.
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(TEXT, inside, max_size=2),
    max_leaves=4,
)
STRUCT = st.dictionaries(TEXT, JSON, max_size=2)
# Fractions of 0, 3, 6 and 9 digits alike.
NANOS = st.integers(0, 999).flatmap(lambda n: st.sampled_from([0, n * 10**6, n * 10**3, n]))
MOMENT = st.builds(
    a2a_pb2.TaskStatus().timestamp.__class__,
    seconds=st.integers(-62_135_596_800, 253_402_300_799),
    nanos=NANOS,
)

quick = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


def model(name: str) -> type[WireModel]:
    found: type[WireModel] = getattr(protocol, name)
    return found


def read(printed: Any, cls: type[Proto]) -> Proto:
    """What the official types make of `printed`; typed loosely since a Value is no object."""
    proto: Proto = ParseDict(printed, cls())
    return proto


def required(descriptor: Any) -> set[str]:
    """The fields without which our model of this message is refused."""
    fields = model(descriptor.name).model_fields
    needed = {name for name, field in fields.items() if field.is_required()}
    # A message in a request needs parts; elsewhere they may be missing.
    return needed | {"parts"} if descriptor.name == "Message" else needed


def scalars(field: Any, *, needed: bool) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.text(min_size=1 if needed else 0, max_size=6)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=6)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_INT32:
        return st.integers(-(2**31), 2**31 - 1)
    assert field.type == FieldDescriptor.TYPE_ENUM
    return st.integers(1 if needed else 0, len(field.enum_type.values) - 1)


def values(field: Any, *, needed: bool) -> st.SearchStrategy[Any]:
    inside = field.message_type
    if inside is None:
        one = scalars(field, needed=needed)
    elif inside.GetOptions().map_entry:
        kinds = inside.fields_by_name
        keys, entries = (values(kinds[each], needed=False) for each in ("key", "value"))
        return st.dictionaries(keys, entries, max_size=2)
    elif inside.full_name == "google.protobuf.Struct":
        one = STRUCT.map(lambda value: read(value, GetMessageClass(inside)))
    elif inside.full_name == "google.protobuf.Value":
        one = JSON.map(lambda value: read(value, GetMessageClass(inside)))
    elif inside.full_name == "google.protobuf.Timestamp":
        one = MOMENT
    else:
        one = protos(inside)
    least = 1 if field.name == "parts" else 0
    return st.lists(one, min_size=least, max_size=2) if field.is_repeated else one


@st.composite
def protos(draw: Callable[[st.SearchStrategy[Any]], Any], descriptor: Any) -> Proto:
    """Any message of this type that our models take, as protobuf holds it."""
    needed = required(descriptor)
    one_ofs = [each for each in descriptor.oneofs if len(each.fields) > 1]
    chosen = {draw(st.sampled_from(list(each.fields))).name for each in one_ofs}
    left_out = {field.name for each in one_ofs for field in each.fields} - chosen
    arguments = {}
    for field in descriptor.fields:
        if field.name in left_out:
            continue
        if field.name in needed | chosen or draw(st.booleans()):
            arguments[field.name] = draw(values(field, needed=field.name in needed))
    proto: Proto = GetMessageClass(descriptor)(**arguments)
    return proto


def native(value: Any, cls: Any) -> Any:
    """Our model of a protobuf message, made by its constructor from Python values."""
    arguments: dict[str, Any] = {}
    for field, inside in value.ListFields():
        kind = field.message_type
        if kind is None:
            as_enum = TaskState if field.name in {"state", "status"} else Role
            is_enum = field.type == FieldDescriptor.TYPE_ENUM
            converted = as_enum(inside) if is_enum else inside
            arguments[field.name] = tuple(inside) if field.is_repeated else converted
        elif kind.GetOptions().map_entry:
            value_kind = kind.fields_by_name["value"].message_type
            arguments[field.name] = {
                key: native(each, model(value_kind.name)) if value_kind else each
                for key, each in inside.items()
            }
        elif kind.full_name.startswith("google.protobuf."):
            plain = MessageToDict(inside)
            is_time = kind.full_name.endswith("Timestamp")
            arguments[field.name] = inside.ToDatetime(UTC) if is_time else plain
        elif field.is_repeated:
            arguments[field.name] = tuple(native(each, model(kind.name)) for each in inside)
        else:
            arguments[field.name] = native(inside, model(kind.name))
    return cls(**arguments)


def has_nanoseconds(printed: Any) -> bool:
    if isinstance(printed, Mapping):
        return any(has_nanoseconds(each) for each in printed.values())
    if isinstance(printed, list):
        return any(has_nanoseconds(each) for each in printed)
    return isinstance(printed, str) and len(printed) == 30 and printed.endswith("Z")


def test_every_message_of_a2a_has_a_model_of_its_name() -> None:
    """Spec: A2A 1.0's proto file lists the messages; only our numbered events are added."""
    ours = {
        name
        for name in protocol.__all__
        if isinstance(getattr(protocol, name), type)
        and issubclass(getattr(protocol, name), WireModel)
    }
    assert ours == set(NAMES) | OURS_ALONE


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_exactly_the_fields_and_json_names_of_its_message(name: str) -> None:
    """Spec: A2A 1.0, ProtoJSON names."""
    fields = a2a_pb2.DESCRIPTOR.message_types_by_name[name].fields
    assert {field.name for field in fields} == set(model(name).model_fields)
    for field in fields:
        assert camel_case(field.name) == field.json_name


@claim("a2a:proto-json")
@pytest.mark.parametrize("name", NAMES)
def test_what_the_official_types_print_is_read_and_printed_alike(name: str) -> None:
    """Spec: ProtoJSON, both directions, over generated messages."""
    descriptor = a2a_pb2.DESCRIPTOR.message_types_by_name[name]

    @quick
    @given(protos(descriptor))
    def check(proto: Proto) -> None:
        printed = MessageToDict(proto)
        ours = model(name).parse(printed)
        assert ours.wire() == printed
        assert read(ours.wire(), GetMessageClass(descriptor)) == proto
        snake = MessageToDict(proto, preserving_proto_field_name=True)
        assert model(name).parse(snake) == ours

    check()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_made_from_python_values_is_the_same_message(name: str) -> None:
    """Spec: ProtoJSON; the constructor and the parser agree."""
    descriptor = a2a_pb2.DESCRIPTOR.message_types_by_name[name]

    @settings(quick, max_examples=10)
    @given(protos(descriptor))
    def check(proto: Proto) -> None:
        # Python's datetime has no nanoseconds; the test before covers those.
        assume(not has_nanoseconds(MessageToDict(proto)))
        ours = native(proto, model(name))
        assert read(ours.wire(), GetMessageClass(descriptor)) == proto
        assert ours == model(name).parse(MessageToDict(proto))

    check()


@quick
@given(protos(a2a_pb2.Message.DESCRIPTOR))
def test_json_text_and_bytes_are_read_as_the_object_is(proto: Proto) -> None:
    """Ours: a link may hand over what it received without decoding it first."""
    text = MessageToJson(proto)
    assert (
        Message.parse(text) == Message.parse(text.encode()) == Message.parse(MessageToDict(proto))
    )


@quick
@given(protos(a2a_pb2.Task.DESCRIPTOR))
def test_nulls_are_absent_fields(proto: Proto) -> None:
    """Spec: ProtoJSON, null is a legal value of every field and means absent."""
    printed = MessageToDict(proto)
    with_nulls = {field.json_name: None for field in a2a_pb2.Task.DESCRIPTOR.fields} | printed
    with_nulls["status"] = {"message": None, "timestamp": None} | printed["status"]
    assert Task.parse(with_nulls) == Task.parse(printed)


def test_nulls_deep_inside_are_absent_fields_however_they_are_spelled() -> None:
    """Spec: ProtoJSON, null and both spellings at once, in text and as an object."""
    said = {
        "message_id": "m",
        "role": "ROLE_USER",
        "context_id": None,
        "parts": [{"text": "a", "mediaType": None}, {"data": None, "filename": None}],
        "reference_task_ids": None,
    }
    read = Message.parse(said)
    assert read.wire() == {
        "messageId": "m",
        "role": "ROLE_USER",
        "parts": [{"text": "a"}, {"data": None}],
    }
    text = (
        '{"message_id": "m", "role": 1, "contextId": null, "parts": [{"data": null, "url": null}]}'
    )
    assert Message.parse(text).parts == (Part(data=None),)


def test_a_required_null_is_named_as_missing() -> None:
    """Spec: ProtoJSON, null is absent, and A2A needs a messageId."""
    with pytest.raises(InvalidParamsError, match=r"Message\.messageId: Field required"):
        Message.parse({"messageId": None, "role": "ROLE_USER"})


def test_fields_of_a_later_version_are_ignored() -> None:
    """Spec: A2A 1.0, section 5.7: unknown fields are ignored."""
    read = Part.parse({"text": "a", "smell": {"of": "roses"}})
    assert read.wire() == {"text": "a"}


def test_an_unknown_kind_of_security_does_not_cost_the_card() -> None:
    """Spec: A2A 1.0, section 5.7: a later version's scheme is an unknown field of a one-of."""
    card = AgentCard.parse({"name": "a", "securitySchemes": {"new": {"retinaScheme": {}}}})
    assert card.security_schemes == {"new": SecurityScheme()}


def test_enums_are_read_by_number_and_printed_by_name() -> None:
    """Spec: ProtoJSON, parsers accept both names and numbers of enum values."""
    assert TaskStatus.parse({"state": 6}).wire() == {"state": "TASK_STATE_INPUT_REQUIRED"}
    numbers: dict[Any, TaskState] = {a2a_pb2.TaskState.Value(s.value): s for s in TaskState}
    assert all(TaskState(number) is state for number, state in numbers.items())
    assert {a2a_pb2.Role.Value(role.value): role for role in Role} == {1: Role.USER, 2: Role.AGENT}


@pytest.mark.parametrize("state", [0, 9, -1, True, "WORKING", "TASK_STATE_UNSPECIFIED", None])
def test_a_state_that_says_nothing_is_refused(state: object) -> None:
    """Ours: nothing can be decided from an unspecified or unknown state."""
    with pytest.raises(InvalidParamsError):
        TaskStatus.parse({"state": state})


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
        ("2026-11-22T10:00:00.5Z", "2026-11-22T10:00:00.500Z"),
        ("2026-11-22T10:00:00.000250Z", "2026-11-22T10:00:00.000250Z"),
        ("2026-11-22T12:00:00.123456789+02:00", "2026-11-22T10:00:00.123456789Z"),
        ("2026-11-22T10:00:00.1234567Z", "2026-11-22T10:00:00.123456700Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_moments_are_printed_in_utc_with_the_digits_they_need(sent: str, meant: str) -> None:
    """Spec: ProtoJSON, RFC 3339 with 0, 3, 6 or 9 fractional digits and Z."""
    status = TaskStatus.parse({"state": 1, "timestamp": sent})
    assert status.wire()["timestamp"] == meant


def test_a_moment_of_another_zone_is_held_in_utc() -> None:
    """Ours: so that two moments compare and print alike wherever they were made."""
    east = datetime(2026, 11, 22, 12, tzinfo=timezone(timedelta(hours=2)))
    status = TaskStatus(state=TaskState.WORKING, timestamp=east)
    assert status.timestamp is not None
    assert status.timestamp.tzinfo is UTC
    assert rfc3339(status.timestamp) == "2026-11-22T10:00:00Z"


@pytest.mark.parametrize(
    "sent",
    ["yesterday", "2026-11-22", "2026-11-22T10:00:00", 5, "0001-01-01T00:00:00+09:00", ["x"]],
)
def test_a_moment_that_is_not_one_is_refused(sent: object) -> None:
    """Spec: ProtoJSON, RFC 3339 with an offset, years 1 to 9999."""
    with pytest.raises(InvalidParamsError, match=r"TaskStatus\.timestamp: must be an RFC 3339"):
        TaskStatus.parse({"state": 1, "timestamp": sent})


@pytest.mark.parametrize(
    ("cls", "sent", "path"),
    [
        (Message, {"role": "ROLE_USER"}, "messageId"),
        (Message, {"messageId": "", "role": "ROLE_USER"}, "messageId"),
        (Message, {"messageId": "m", "role": "user"}, "role"),
        (Message, {"messageId": "m", "role": 1, "parts": "text"}, "parts"),
        (Message, {"messageId": "m", "role": 1, "parts": [{"text": "a"}, {}]}, "parts[1]"),
        (Message, {"messageId": "m", "role": 1, "parts": [None]}, "parts[0]"),
        (Message, {"messageId": "m", "role": 1, "parts": [{"text": 5}]}, "parts[0].text"),
        (Message, {"messageId": "m", "role": 1, "metadata": [1]}, "metadata"),
        (SendMessageRequest, {"message": {"messageId": "m", "role": 1}}, "message"),
        (SendMessageRequest, {}, "message"),
        (GetTaskRequest, {"id": "t", "historyLength": True}, "historyLength"),
        (GetTaskRequest, {"id": "t", "historyLength": 2**31}, "historyLength"),
        (ListTasksRequest, {"includeArtifacts": "yes"}, "includeArtifacts"),
        (StreamResponse, {"task": None}, ""),
        (SecurityScheme, {"mtlsSecurityScheme": {}, "apiKeySecurityScheme": {"location": "header", "name": "k"}}, ""),
        (NumberedEvent, {"sequence": 0, "event": {}}, "sequence"),
        (Task, [], ""),
        (Task, "nonsense", ""),
        (Task, b"\xff", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_path(cls: type[WireModel], sent: Any, path: str) -> None:
    """Ours: the caller learns where it went wrong, in the names it sent."""
    with pytest.raises(InvalidParamsError) as caught:
        cls.parse(sent)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{cls.__name__}.{path}" if path else cls.__name__)


def test_an_error_does_not_repeat_what_was_sent() -> None:
    """Ours: secrets must not come back in errors."""
    with pytest.raises(InvalidParamsError) as caught:
        Message.parse({"messageId": "m", "role": "hunter2", "parts": [{"raw": "hunter2!"}]})
    assert "hunter2" not in str(caught.value)
    assert "and 1 more" in str(caught.value)


@quick
@given(st.binary(max_size=40))
def test_bytes_are_read_in_either_alphabet_and_without_padding(content: bytes) -> None:
    """Spec: ProtoJSON, standard base64 out; standard or URL-safe, padded or not, in."""
    printed = b64encode(content).decode()
    for sent in (printed, printed.rstrip("="), urlsafe_b64encode(content).decode()):
        assert Part.parse({"raw": sent}).raw == content
    assert Part(raw=content).wire() == {"raw": printed}


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1: 2}, {"a": object()}, b"bytes", "\ud800", 2**64, -(2**63) - 1],
)
def test_data_that_json_cannot_carry_is_refused_when_it_is_given(value: object) -> None:
    """Ours: better here, with the path, than in an encoder somewhere below."""
    with pytest.raises(ValueError, match="data"):
        Part(data=value)
    with pytest.raises(InvalidParamsError):
        Artifact.parse({"artifactId": "a", "metadata": {"key": value}})


def test_data_nested_too_deep_is_refused() -> None:
    """Ours: protobuf parsers stop at 100 levels, and a stack is no place to find that out."""
    deep: Any = "bottom"
    for _ in range(100):
        deep = [deep]
    assert Part(data=deep).data == deep
    with pytest.raises(InvalidParamsError, match="nested deeper than 100 levels"):
        Part.parse({"data": [deep]})
    with pytest.raises(InvalidParamsError):
        Part.parse('{"data": ' + "[" * 5000 + "]" * 5000 + "}")


@quick
@given(JSON)
def test_json_values_are_copied_whole(value: Any) -> None:
    """Ours: who changes his dictionary after sending it changes nothing that was sent."""
    copy = json_value(value)
    assert copy == value
    assert not isinstance(value, dict | list) or copy is not value


def test_data_is_not_shared_with_its_giver() -> None:
    """Ours: messages are values, also in one process."""
    given_data: dict[str, Any] = {"list": [1]}
    part = Part(data=given_data)
    given_data["list"].append(2)
    assert part.wire() == {"data": {"list": [1]}}


def test_a_page_of_events_travels_in_camel_case() -> None:
    """Ours: docs/binding.md, ReadTaskEvents."""
    task = Task(id="t", status=TaskStatus(state=TaskState.SUBMITTED))
    event = NumberedEvent(sequence=3, event=StreamResponse(task=task))
    page = EventPage(events=(event,), last_sequence=3, ended=True)
    wire = page.wire()
    assert wire == {
        "events": [
            {
                "sequence": 3,
                "event": {"task": {"id": "t", "status": {"state": "TASK_STATE_SUBMITTED"}}},
            }
        ],
        "lastSequence": 3,
        "ended": True,
    }
    assert EventPage.parse(wire) == page
    assert EventPage.parse({}) == EventPage(events=(), last_sequence=0, ended=False)


def test_a_message_cannot_be_changed() -> None:
    """Ours: frozen, so that it can be shared between tasks."""
    part = Part(text="a")
    with pytest.raises(ValueError, match="frozen"):
        part.text = "b"  # type: ignore[misc]  # that it is refused is the point
