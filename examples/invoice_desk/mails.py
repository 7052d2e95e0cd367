"""From the bytes of a mail to the text a reader needs; nothing here knows what an invoice is.

Bodies are decoded by the standard library's `email` package, HTML becomes lines of
text, attached mails are opened, and quoted older messages are cut off. A mail that
gives no readable text raises `UnreadableMailError` with a sentence for a person.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parseaddr, parsedate_to_datetime
from html.parser import HTMLParser

from repertory.protocol.errors import RepertoryError

LONGEST_TEXT = 1600
_QUOTED_FROM = re.compile(
    r"^(On|Am|Le|Il|El) .{6,120}(wrote|schrieb|a écrit|ha scritto|escribió):\s*$"
)
_SIGNATURE = re.compile(r"^-- ?$")


class UnreadableMailError(RepertoryError, ValueError):
    """The file is no mail, or its text cannot be decoded."""

    reason = "UNREADABLE_MAIL"


@dataclass(frozen=True, slots=True)
class Mail:
    """What was sent: who, when, about what, and the text without markup and old quotes."""

    sender: str
    address: str
    subject: str
    received: date
    text: str


def read_mail(content: bytes) -> Mail:
    """Decode one mail.

    Raises:
        UnreadableMailError: No sender, no date or no legible text can be found in it.
    """
    message = message_from_bytes(content, policy=policy.default)
    name, address = parseaddr(_header(message, "from"))
    if "@" not in address:
        raise UnreadableMailError("the mail names no sender; ask for it to be sent again")
    try:
        received = parsedate_to_datetime(_header(message, "date")).date()
    except (TypeError, ValueError):
        raise UnreadableMailError(
            "the mail has no readable date; ask for it to be sent again"
        ) from None
    text = _tidy("\n\n".join(_texts(message)))
    if not _legible(text):
        raise UnreadableMailError("the mail's text cannot be decoded; ask for it to be sent again")
    return Mail(name or address, address, _header(message, "subject"), received, text)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError, LookupError):
        return ""  # the standard library's header parser gives up on some broken headers


def _texts(message: EmailMessage) -> Iterator[str]:
    """The body, plain before HTML, and then whatever mails are attached."""
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None and body.get_content_maintype() == "text":
        payload = body.get_payload(decode=True)
        raw = payload if isinstance(payload, bytes) else b""
        try:
            text = raw.decode(body.get_content_charset("utf-8"), errors="replace")
        except LookupError:
            text = raw.decode("latin-1")
        yield html_text(text) if body.get_content_subtype() == "html" else text
    for attached in message.iter_attachments():
        if attached.get_content_type() == "message/rfc822":
            inner = attached.get_content()
            yield f"From: {_header(inner, 'from')}\nSubject: {_header(inner, 'subject')}"
            yield from _texts(inner)


class _Lines(HTMLParser):
    """Lays HTML out as lines: a row is a line, its cells are parted by a bar."""

    BREAKS = frozenset(
        [
            "p",
            "br",
            "div",
            "tr",
            "table",
            "h1",
            "h2",
            "h3",
            "h4",
            "li",
            "ul",
            "ol",
            "hr",
            "pre",
            "body",
        ]
    )
    HIDDEN = frozenset(["script", "style", "head", "title"])

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.HIDDEN:
            self.hidden += 1
        elif tag in self.BREAKS:
            self.pieces.append("\n")
        elif tag in ("td", "th"):
            self.pieces.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.HIDDEN:
            self.hidden = max(0, self.hidden - 1)
        elif tag in self.BREAKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            keep_breaks = "\n" in data and data.strip() and "  " in data
            self.pieces.append(data if keep_breaks else re.sub(r"\s+", " ", data))


def html_text(markup: str) -> str:
    """The text of `markup`, a line per paragraph or table row."""
    lines = _Lines()
    lines.feed(markup)
    lines.close()
    return "".join(lines.pieces)


def _tidy(text: str) -> str:
    """Cut quoted older messages and signatures, collapse spaces, and bound the length."""
    kept: list[str] = []
    for line in text.replace("\r", "").replace("\u200b", "").splitlines():
        line = re.sub(r"[ \t\xa0\u202f]+", " ", line).strip().strip("|").strip()
        if _QUOTED_FROM.match(line) or _SIGNATURE.match(line):
            break
        if line.startswith(">") or (not line and (not kept or not kept[-1])):
            continue
        kept.append(line)
    return "\n".join(kept).strip()[:LONGEST_TEXT]


def _legible(text: str) -> bool:
    """Whether most characters are what people write; decoded noise is not."""
    if len(text) < 20:
        return False
    odd = sum(1 for c in text if c == "\ufffd" or (ord(c) < 32 and c not in "\n\t"))
    return odd / len(text) < 0.05
