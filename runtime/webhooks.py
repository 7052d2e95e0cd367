"""Webhooks in the journal: `repertory.protocol.WebhookStore` in SQL.

One process sends each: the one that took it last. What a dead process left is taken by
one of the living, who goes on after the last event that was delivered; so an event may
come twice, under the same id, and none is missing.
"""

from typing import Any

import orjson

from repertory.protocol import TaskPushNotificationConfig, Webhook
from repertory.xp_store import Connection, Database

from .lease import processes_of

_COLUMNS = "agent, task_id, config_id, tenant, principal, config, sent, done, version, owner"
_ANEW = "ON CONFLICT (agent, task_id, config_id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[3:]
)


class JournalWebhooks:
    """Keeps the webhooks of a network beside its tasks.

    owner: the number of this process.
    """

    def __init__(self, database: Database, owner: int) -> None:
        self._database = database
        self._owner = owner

    async def put(self, webhook: Webhook) -> None:
        row = (
            *webhook.key,
            webhook.tenant,
            webhook.principal,
            orjson.dumps(webhook.config.wire()).decode(),
            webhook.sent,
            int(webhook.done),
            webhook.version,
            self._owner,
        )
        await self._database.transact(
            lambda connection: connection.execute(
                f"INSERT INTO webhook ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?) {_ANEW}", row
            )
        )

    async def of_task(self, agent: str, task_id: str) -> list[Webhook]:
        return await self._select("agent=? AND task_id=? ORDER BY config_id", agent, task_id)

    async def remove(self, agent: str, task_id: str, config_id: str) -> None:
        await self._database.transact(
            lambda connection: connection.execute(
                "DELETE FROM webhook WHERE agent=? AND task_id=? AND config_id=?",
                (agent, task_id, config_id),
            )
        )

    async def unfinished(self, agent: str) -> list[Webhook]:
        known = await processes_of(self._database)
        others = [each.number for each in known if each.lives and each.number != self._owner]
        taken = f"agent=? AND done=0 AND owner NOT IN ({','.join('?' * len(others)) or '-1'})"
        await self._database.transact(
            lambda connection: connection.execute(
                f"UPDATE webhook SET owner=? WHERE {taken}", (self._owner, agent, *others)
            )
        )
        return await self._select(
            "agent=? AND done=0 AND owner=? ORDER BY task_id", agent, self._owner
        )

    async def _select(self, where: str, *values: str | int) -> list[Webhook]:
        def unit(connection: Connection) -> list[Webhook]:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM webhook WHERE {where}", values)
            return [_webhook_of(row) for row in rows.fetchall()]

        return await self._database.read(unit)


def _webhook_of(row: tuple[Any, ...]) -> Webhook:
    agent, _, _, tenant, principal, config, sent, done, version, _ = row
    return Webhook(
        agent=agent,
        tenant=tenant,
        principal=principal,
        config=TaskPushNotificationConfig.parse(config),
        sent=sent,
        done=bool(done),
        version=version,
    )
