"""Figures of vLLM's /metrics by the beginning of their lines."""


def counted(text: str, name: str) -> float:
    """The sum over all lines that begin with `name`."""
    lines = (line for line in text.splitlines() if line.startswith(name))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
