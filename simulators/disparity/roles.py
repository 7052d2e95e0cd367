"""Who does the same work: roles as labels say them, or as the actions show them.

Clerks of different roles differ more than a machine differs from a clerk, so what
hangs on the work is compared within a role only.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from .profiles import Counts

# Two clerks do the same work up to this Jensen-Shannon divergence, in bits of at most 1.
SAME_WORK = 0.35
NO_ROLE = ""


def divergence(p: Counts, q: Counts) -> float:
    """The Jensen-Shannon divergence of two distributions in bits, 0 to 1 (Lin 1991)."""
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log2(p / middle), 0.0).sum()
        right = np.where(q > 0, q * np.log2(q / middle), 0.0).sum()
    return float(max(0.0, (left + right) / 2))


def roles_of(
    names: Sequence[str],
    actions: Sequence[Counts],
    references: Sequence[bool],
    said: Mapping[str, str],
) -> list[str]:
    """Each actor's role: what labels or the log said, else a cluster of equal work.

    actions: distributions over actions. references: who forms clusters (the known
    humans); the others join the nearest one within `SAME_WORK`, or none (""). Clusters
    are of average linkage over the Jensen-Shannon divergence.
    """
    roles = [said.get(name, NO_ROLE) for name in names]
    forming = [i for i in range(len(names)) if references[i] and not roles[i]]
    clusters = _clusters([actions[i] for i in forming])
    centers: dict[str, Counts] = {}
    for number in sorted(set(clusters)):
        members = [forming[k] for k, cluster in enumerate(clusters) if cluster == number]
        role = f"work {number}"
        centers[role] = np.mean([actions[i] for i in members], axis=0)
        for i in members:
            roles[i] = role
    for i, role in enumerate(roles):
        if not role and centers:
            distance, nearest = min((divergence(actions[i], c), r) for r, c in centers.items())
            roles[i] = nearest if distance <= SAME_WORK else NO_ROLE
    return roles


def _clusters(actions: Sequence[Counts]) -> list[int]:
    if len(actions) < 2:
        return [1] * len(actions)
    from scipy.cluster.hierarchy import fcluster, linkage

    condensed = [
        divergence(actions[i], actions[j])
        for i in range(len(actions))
        for j in range(i + 1, len(actions))
    ]
    found = fcluster(linkage(np.array(condensed), "average"), SAME_WORK, "distance")
    return [int(each) for each in found]
