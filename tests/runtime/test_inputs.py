from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repertory.protocol import Message
from repertory.runtime import InputError
from repertory.runtime.inputs import input_files, message_of


@given(st.text(), st.text(min_size=1), st.binary(), st.text(), st.text(min_size=1), st.binary())
def test_a_message_id_is_that_of_network_name_and_content(
    network: str, name: str, content: bytes, network_2: str, name_2: str, content_2: bytes
) -> None:
    """Ours: the same file is the same message, anything else is another."""
    one = message_of(network, name, content)
    other = message_of(network_2, name_2, content_2)
    same = (network, name, content) == (network_2, name_2, content_2)
    assert (one.message_id == other.message_id) is same
    assert one == message_of(network, name, content)


@given(st.binary(max_size=200), st.sampled_from(["a.txt", "a.eml", "a.json", "a.pdf", "a", "a.md"]))
def test_no_byte_of_a_file_is_lost(content: bytes, name: str) -> None:
    """Ours: text travels as text, all else as bytes, and both survive the wire."""
    message = Message.parse(message_of("n", name, content).wire())
    (part,) = message.parts
    assert part.filename == name
    assert (part.text.encode() if part.text is not None else part.raw) == content


def test_a_folder_is_read_by_name_without_what_is_hidden(tmp_path: Path) -> None:
    """Ours: the order of a run does not depend on the disk."""
    for name in ("b.eml", "a.eml", ".DS_Store"):
        (tmp_path / name).write_text(name)
    (tmp_path / "sub").mkdir()
    assert [file.name for file in input_files("n", [tmp_path])] == ["a.eml", "b.eml"]
    assert input_files("n", [tmp_path])[0].message.parts[0].media_type == "message/rfc822"


@pytest.mark.parametrize("given", ["absent", "empty"])
def test_nothing_to_read_is_told(tmp_path: Path, given: str) -> None:
    """Ours: a run over nothing is a mistake, not a success."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        input_files("n", [tmp_path / given])
