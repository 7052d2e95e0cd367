"""Admission: a check moves trust only after the gates let it through, tenant by tenant."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from .checks import CheckSpec
from .connection import Connection
from .digests import Clock, as_json, digest_of, instant, utc_now
from .gates import Gates
from .ledger import append_entry

AdmissionStatus: TypeAlias = Literal["admitted", "refused", "quarantined"]


def admission_rows(
    spec: CheckSpec,
    gates: Gates,
    tenant: str,
    *,
    actor: str,
    status: AdmissionStatus | None = None,
    clock: Clock = utc_now,
) -> Callable[[Connection], AdmissionStatus]:
    """Return the unit that keeps what the gates found of `spec`, and says what became of it.

    status: in place of what the gates say, as for a check that proved flaky later.
    """
    at = instant(clock())
    decided: AdmissionStatus = status or ("admitted" if gates.passed else "refused")

    def write(connection: Connection) -> AdmissionStatus:
        connection.execute(
            "INSERT INTO xp_check (digest, name, lang, code) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (spec.digest, spec.name, spec.lang, spec.code),
        )
        connection.execute(
            "INSERT INTO xp_admission (tenant, check_digest, status, gates, at)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, check_digest) DO UPDATE SET"
            " status = excluded.status, gates = excluded.gates, at = excluded.at",
            (tenant, spec.digest, decided, as_json(gates.wire()), at),
        )
        append_entry(
            connection,
            at=at,
            tenant=tenant,
            actor=actor,
            verb=decided,
            after=spec.digest,
            reason=f"check {spec.name!r}: {gates}",
            evidence=digest_of(gates.wire()),
        )
        return decided

    return write
