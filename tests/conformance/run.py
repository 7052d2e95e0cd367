"""`just conformance`: the official MCP referee over our server and our client, as one table.

It installs Node 22 and `@modelcontextprotocol/conformance` from npm into `.conformance/`.
Where npm cannot be reached it says so and ends with 0, or with 1 when told `--strict`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLACE = ROOT / ".conformance"
BIN = PLACE / "node_modules" / ".bin"
PACKAGES = ("node@22", "@modelcontextprotocol/conformance@0.2.0-alpha.12")
REVISIONS = ("2026-07-28", "2025-11-25")
SUITE = "MCP conformance 0.2.0-alpha.12"
NOT_SCORED = ("extension", "pending", "added-after-release")


class Row(NamedTuple):
    """One line of the table: checks passed of all, and what did not pass."""

    suite: str
    set: str
    passed: int
    total: int
    failed: tuple[str, ...]


def main() -> int:
    """Run the sets that were asked for, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("server", "client"), help="one half only")
    parser.add_argument("--strict", action="store_true", help="fail where npm is not reachable")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    asked = parser.parse_args()
    if (refusal := install()) is not None:
        sys.stderr.write(f"conformance: SKIPPED, {refusal}\n")
        return 1 if asked.strict else 0
    rows: list[Row] = []
    if asked.only != "client":
        with served() as url:
            for revision in REVISIONS:
                rows += server_rows(url, revision)
    if asked.only != "server":
        with waiting() as command:
            for revision in REVISIONS:
                rows.append(client_row(command, revision))
    show(rows, as_json=asked.json)
    return 0 if all(row.passed == row.total for row in rows) else 1


def install() -> str | None:
    """Install the referee where it is missing; why it could not be, or None."""
    if (BIN / "conformance").exists():
        return None
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(PLACE), *PACKAGES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired:
        return "npm did not answer in 180 s"
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        return f"npm could not install it: {' '.join(last)}"
    return None


@contextmanager
def served() -> Iterator[str]:
    """Our agent, served by a process of its own; its MCP endpoint."""
    command = [sys.executable, str(HERE / "agent.py")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@contextmanager
def waiting() -> Iterator[str]:
    """Our client, loaded once; the command by which the referee reaches it."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/client.sock"
        command = [sys.executable, str(HERE / "client.py"), "--wait", path]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as client:
            assert client.stdout is not None
            assert client.stdout.readline().strip() == "ready"
            try:
                yield f"{sys.executable} -S {HERE / 'knock.py'} {path}"
            finally:
                client.terminate()


def server_rows(url: str, revision: str) -> list[Row]:
    """The server set of a revision, with its scored part and its extras apart."""
    checks = run("server", "--url", url, "--requirements", revision)
    scored, tasks, headers, other = Tally(), Tally(), Tally(), Tally()
    extras = not_scored(revision)
    for scenario, found in checks.items():
        if scenario not in extras:
            scored.add(scenario, found)
        elif scenario.startswith("tasks-"):
            tasks.add(scenario, found)
        elif scenario.startswith("http-"):
            headers.add(scenario, found)
        else:
            other.add(scenario, found)
    rows = [scored.row(f"server {revision}")]
    for name, tally in (("tasks", tasks), ("headers", headers), ("not scored", other)):
        if tally.total:
            rows.append(tally.row(f"server {revision}, {name}"))
    return rows


def client_row(command: str, revision: str) -> Row:
    """The scored client set of a revision."""
    checks = run("client", "--command", command, "--requirements", revision, "--timeout", "60000")
    tally, extras = Tally(), not_scored(revision)
    for scenario, found in checks.items():
        if scenario not in extras:
            tally.add(scenario, found)
    return tally.row(f"client {revision}")


class Tally:
    """Checks counted as the referee counts them: a success or a failure."""

    def __init__(self) -> None:
        self.passed = self.total = 0
        self.failed: list[str] = []

    def add(self, scenario: str, statuses: list[tuple[str, str]]) -> None:
        """Count a scenario's checks."""
        for name, status in statuses:
            if status in ("SUCCESS", "FAILURE"):
                self.total += 1
                self.passed += status == "SUCCESS"
            if status == "FAILURE":
                self.failed.append(f"{scenario}: {name}")

    def row(self, name: str) -> Row:
        """The tally as a line of the table."""
        return Row(SUITE, name, self.passed, self.total, tuple(self.failed))


def run(half: str, *options: str) -> dict[str, list[tuple[str, str]]]:
    """Run the referee; each scenario's checks with their status."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(BIN / "conformance"), half, *options, "-o", folder]
        env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
        subprocess.run(command, env=env, capture_output=True, timeout=540, check=False)
        found: dict[str, list[tuple[str, str]]] = {}
        for file in sorted(Path(folder).rglob("checks.json")):
            # Folders are named `server-SCENARIO-TIME`, those of clients without the first word.
            name = str(file.parent.relative_to(folder)).removeprefix("server-")
            scenario = name.rsplit("-", 6)[0]
            checks = json.loads(file.read_text())
            found[scenario] = [(each["id"], each["status"]) for each in checks]
    if not found:
        raise SystemExit(f"the referee gave no result: {' '.join(command)}")
    return found


def not_scored(revision: str) -> set[str]:
    """The scenarios that the referee runs without counting them, from its own list."""
    package = PLACE / "node_modules" / "@modelcontextprotocol" / "conformance"
    lines = (package / "requirements" / f"{revision}.yaml").read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("not_scored"))
    named = (line.partition("scenario:")[2].strip() for line in lines[at:])
    return {name for name in named if name}


def show(rows: list[Row], *, as_json: bool) -> None:
    """Print the table, and what did not pass below it."""
    if as_json:
        sys.stdout.write(json.dumps([row._asdict() for row in rows], indent=2) + "\n")
        return
    width = max(len(row.set) for row in rows)
    sys.stdout.write(f"{'suite':31} {'set':{width}} passed total\n")
    for row in rows:
        sys.stdout.write(f"{row.suite:31} {row.set:{width}} {row.passed:6} {row.total:5}\n")
    for row in rows:
        for each in row.failed:
            sys.stdout.write(f"  failed, {row.set}: {each}\n")


if __name__ == "__main__":
    raise SystemExit(main())
