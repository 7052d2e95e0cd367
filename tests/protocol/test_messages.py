from hypothesis import given, settings
from hypothesis import strategies as st

from repertory.protocol import Message, Part, Role, agent_message, new_id, user_message


def test_text_joins_the_text_parts_by_lines_and_skips_the_rest() -> None:
    """Ours: what a person reads of a message."""
    parts = (Part(text="one"), Part(data={"two": 2}), Part(raw=b"3"), Part(text=""), Part(text="4"))
    assert Message(message_id="m", role=Role.AGENT, parts=parts).text == "one\n\n4"
    assert Message(message_id="m", role=Role.AGENT).text == ""


def test_data_is_the_first_data_part() -> None:
    """Ours: what a program reads of a message."""
    parts = (Part(text="one"), Part(data={"two": 2}), Part(data=3))
    assert Message(message_id="m", role=Role.USER, parts=parts).data == {"two": 2}
    assert Message(message_id="m", role=Role.USER, parts=parts[:1]).data is None


def test_a_part_whose_data_is_null_is_a_data_part() -> None:
    """Spec: A2A 1.0, Part.data is any JSON value, and null is one."""
    null = Part(data=None)
    assert null.has_data
    assert null.wire() == {"data": None}
    assert null != Part(text="")
    assert not Part(text="").has_data
    assert Part.parse({"data": None}) == null


def test_an_empty_text_is_still_a_text_part() -> None:
    """Spec: ProtoJSON prints a member of a one-of also when it is empty."""
    assert Part(text="").wire() == {"text": ""}
    assert Part(raw=b"").wire() == {"raw": ""}
    assert Part(url="").wire() == {"url": ""}


def test_a_mapping_travels_as_data_and_text_as_text() -> None:
    """Ours: `ask(peer, content)` takes either."""
    assert user_message({"a": [1]}).parts == (Part(data={"a": [1]}),)
    assert user_message("hello").parts == (Part(text="hello"),)


def test_messages_are_made_for_either_side() -> None:
    """Ours: the side decides the role, the rest is as it was given."""
    asked = user_message("q", message_id="m", context_id="c", task_id="t", metadata={"k": 1})
    assert asked.wire() == {
        "messageId": "m",
        "role": "ROLE_USER",
        "parts": [{"text": "q"}],
        "contextId": "c",
        "taskId": "t",
        "metadata": {"k": 1},
    }
    answered = agent_message("a")
    assert answered.role is Role.AGENT
    assert answered.message_id
    assert answered.message_id != agent_message("a").message_id


def test_ids_sort_in_the_order_they_were_made() -> None:
    """Ours: UUIDs of version 7, so that an index by id is an index by time."""
    ids = [new_id() for _ in range(100)]
    assert sorted(ids) == ids
    assert len(set(ids)) == 100
    assert all(each[14] == "7" for each in ids)


@settings(max_examples=30, deadline=None, database=None)
@given(st.text(max_size=20), st.dictionaries(st.text(max_size=4), st.integers(-9, 9), max_size=2))
def test_a_message_comes_back_from_its_wire_form_equal(text: str, metadata: dict[str, int]) -> None:
    """Ours: the journal stores what `wire` gives and reads it with `parse`."""
    message = user_message(text, metadata=metadata)
    assert Message.parse(message.wire()) == message
