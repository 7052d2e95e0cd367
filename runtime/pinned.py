"""An agent elsewhere whose card must be signed by a key that the manifest pins."""

import logging
from pathlib import Path
from typing import Any, Final

import anyio
import orjson

from repertory.protocol import (
    AgentCard,
    AgentService,
    Call,
    CancelTaskRequest,
    CardNotTrustedError,
    EventPage,
    GetTaskRequest,
    InvalidParamsError,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SendMessageResponse,
    Task,
    thumbprint,
    verify_card,
)

from .audit import Audit, AuditEntry
from .errors import InputError

# How long a card that was verified is believed before it is fetched and verified again.
_BELIEVED_SECONDS: Final = 600.0

logger = logging.getLogger(__name__)


class PinnedService:
    """The service at `url`, which is told nothing before its card has been verified."""

    def __init__(self, service: AgentService, url: str, pins: "CardPins", audit: Audit) -> None:
        self._audit = audit
        self._service = service
        self._url = url
        self._pins = pins
        self._until = float("-inf")
        self._verifying = anyio.Lock()

    async def get_agent_card(self, call: Call) -> AgentCard:
        card = await self._service.get_agent_card(call)
        try:
            signer = self._verify(card)
        except CardNotTrustedError as error:
            await self._audit.note(
                AuditEntry("card refused", target=self._url, chain=call.chain, reason=str(error))
            )
            raise
        logger.debug("the card at %s is signed by %s", self._url, signer)
        return card

    def _verify(self, card: AgentCard) -> str:
        signer = verify_card(card, self._pins.thumbprints, keys=self._pins.keys)
        # A signature vouches for a card, so the card must be of the agent that is called.
        if self._url not in {interface.url for interface in card.supported_interfaces}:
            raise CardNotTrustedError(
                f"the card of {card.name!r} is signed, and names no interface at {self._url}"
            )
        return signer

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        await self._verified(call)
        return await self._service.send_message(request, call)

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        await self._verified(call)
        return await self._service.get_task(request, call)

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        await self._verified(call)
        return await self._service.list_tasks(request, call)

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        await self._verified(call)
        return await self._service.cancel_task(request, call)

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        await self._verified(call)
        return await self._service.read_events(
            task_id, after_sequence, call, wait=wait, limit=limit
        )

    async def _verified(self, call: Call) -> None:
        if anyio.current_time() < self._until:
            return
        async with self._verifying:
            if anyio.current_time() >= self._until:
                await self.get_agent_card(call)
                self._until = anyio.current_time() + _BELIEVED_SECONDS


class CardPins:
    """Keys that may sign a card: thumbprints, or files with a public key as a JWK.

    Raises:
        InputError: A file is none.
    """

    def __init__(self, pins: tuple[str, ...], *, place: str, folder: Path) -> None:
        self.thumbprints: list[str] = []
        self.keys: list[dict[str, Any]] = []
        for pin in pins:
            path = folder / pin
            if not pin.endswith((".json", ".jwk")):
                self.thumbprints.append(pin)
                continue
            try:
                key = orjson.loads(path.read_bytes())
                thumbprint(key)
            except (OSError, ValueError, AttributeError, InvalidParamsError) as error:
                raise InputError(f"{place}: {path} holds no public key ({error})") from None
            self.keys.append(key)
