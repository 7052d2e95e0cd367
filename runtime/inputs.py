"""Files as messages: what `repertory run --input` gives to the network.

One message per file, whose id is a digest of the network, the file's name and
its content: giving the same file again meets the task that it already has,
also after a kill, and a changed file is new work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path

from repertory.protocol import Message, Part, Role

from .errors import InputError

_TEXTUAL = ("text/", "message/", "application/json", "application/xml", "application/yaml")
_OUR_TYPES = {".eml": "message/rfc822", ".md": "text/markdown", ".yaml": "application/yaml"}


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was given, and the message made of it."""

    name: str
    path: Path
    message: Message


def input_files(network: str, given: Sequence[Path]) -> list[InputFile]:
    """The files named by `given`, and those directly in the folders among them, by name.

    Hidden files are left out. Blocks for reading.

    Raises:
        InputError: A path does not exist, cannot be read, or a folder is empty.
    """
    files: list[InputFile] = []
    for place in given:
        for path in _within(place):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise _fault(path, f"the input cannot be read: {error.strerror}") from None
            files.append(InputFile(path.name, path, message_of(network, path.name, content)))
    return files


def message_of(network: str, name: str, content: bytes) -> Message:
    """The message of a file: text when it is text, bytes when it is not."""
    digest = sha256(b"\0".join((network.encode(), name.encode(), content))).hexdigest()[:32]
    kind = _OUR_TYPES.get(Path(name).suffix.lower()) or guess_type(name)[0]
    media_type = kind or "application/octet-stream"
    return Message(
        message_id=f"input-{digest}",
        context_id=f"input-{digest}",
        role=Role.USER,
        parts=(_part(name, media_type, content),),
        metadata={"dev.repertory/file": name},
    )


def _part(name: str, media_type: str, content: bytes) -> Part:
    if media_type.startswith(_TEXTUAL):
        try:
            return Part(text=content.decode("utf-8"), filename=name, media_type=media_type)
        except UnicodeDecodeError:
            pass  # Mails and texts in other encodings travel as they are.
    return Part(raw=content, filename=name, media_type=media_type)


def _within(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise _fault(place, "there is no such input; give a file, or a folder of files")
    # A link to nowhere is kept, so that reading it says so: no mail is left out in silence.
    found = sorted(
        path
        for path in place.iterdir()
        if (path.is_file() or not path.exists()) and not path.name.startswith(".")
    )
    if not found:
        raise _fault(place, "the input folder is empty; put a file per message in it")
    return found


def _fault(path: Path, sentence: str) -> InputError:
    return InputError(f"{path}: {sentence}", path=str(path))
