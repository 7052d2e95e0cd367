"""The grounded extension of an argumentation framework (Dung 1995)."""

from collections.abc import Iterable, Mapping


def grounded_extension(
    arguments: Iterable[str], attacks: Iterable[tuple[str, str]]
) -> Mapping[str, str]:
    """The status of each argument, "in", "out" or "undecided", in the grounded extension.

    The least fixpoint of F(S) = {a | S attacks every attacker of a}: what nobody attacks
    is in, what it attacks is out, and so on until nothing changes. The order in which
    arguments and attacks are given plays no part.
    """
    attackers: dict[str, set[str]] = {argument: set() for argument in arguments}
    for source, target in attacks:
        attackers[target].add(source)
    status: dict[str, str] = {}
    while True:
        defended = {a for a, by in attackers.items() if all(status.get(b) == "out" for b in by)}
        defeated = {a for a, by in attackers.items() if by & defended}
        grown = dict.fromkeys(defended, "in") | dict.fromkeys(defeated, "out")
        if grown == status:
            break
        status = grown
    return {argument: status.get(argument, "undecided") for argument in attackers}
