"""A network of ours under `repertory serve`: laid out in a folder, started, killed, started again."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Self

import anyio
import yaml
from aiohttp import ClientError, ClientSession, ClientTimeout

from .fault import Bench
from .processes import Life, free_port

_DESK = Path(__file__).parent / "desk"
_LOOK = 0.005
_START = 60.0
# A killed process's tasks wait for the end of its lease, on a server, and the default is 10 s.
LEASE = 1.0
_LEASED: Mapping[str, Mapping[str, float]] = {"sqlite": {}, "postgresql": {"lease": LEASE}}


def clerk(**facts: Any) -> dict[str, Any]:
    """An agent of the manifest that posts into the books."""
    return {
        "kind": "clerks:Clerk",
        "description": "Posts entries.",
        "tools": ["books.post"],
        "memory": {"record": False},
        **facts,
    }


def kind(name: str, **facts: Any) -> dict[str, Any]:
    """Another agent of `clerks.py`."""
    return {"kind": f"clerks:{name}", "description": name, "memory": {"record": False}, **facts}


class Served:
    """One network of the bench and its present process.

    recoveries: seconds from each start after the first to the first answer.
    """

    def __init__(
        self, bench: Bench, name: str, agents: Mapping[str, Any], books: str = "", **more: Any
    ) -> None:
        self.bench = bench
        self.folder = bench.folder / name
        self.port = free_port()
        self.host = "127.0.0.1"
        self.url = f"http://{self.host}:{self.port}"
        self.store_url = bench.store.url(self.folder, name)
        self.log = self.folder / "serve.log"
        self.life: Life | None = None
        self.recoveries: list[float] = []
        self.starts = 0
        shutil.copytree(_DESK, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        manifest: dict[str, Any] = {
            "network": name,
            "store": {"url": self.store_url, **_LEASED[bench.store.name], **more.pop("store", {})},
            "embedder": {"engine": "hash"},
            "agents": dict(agents),
            # It is not the messages that kill the process here.
            "supervision": {"deaths": 10_000, **more.pop("supervision", {})},
            **more,
        }
        if books:
            entry = {"url": books, "idempotent": "all", "concurrency": 64}
            manifest.setdefault("tools", {}).setdefault("books", entry)
        (self.folder / "network.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))

    @property
    def argv(self) -> list[str]:
        return ["serve", "network.yaml", "--host", self.host, "--port", str(self.port), "--json"]

    async def start(self, *, ready: bool = True, cold: bool = False, **how: Any) -> float:
        """Start the process; seconds until it answers."""
        began = monotonic()
        starter = self.bench.starter
        begin = starter.start_cold if cold else starter.start
        self.life = begin(self.folder, self.argv, self.log, **how)
        self.starts += 1
        if not ready:
            return 0.0
        await self.wait_ready()
        taken = monotonic() - began
        if self.starts > 1:
            self.recoveries.append(taken)
        return taken

    async def wait_ready(self) -> None:
        """Wait for the first answer.

        Raises:
            RuntimeError: The process has ended instead.
        """
        assert self.life is not None
        async with ClientSession(timeout=ClientTimeout(total=5.0)) as session:
            with anyio.fail_after(_START):
                while True:
                    try:
                        async with session.get(f"{self.url}/health") as response:
                            await response.read()
                            return
                    except (ClientError, OSError, TimeoutError):
                        if not self.life.alive:
                            raise RuntimeError(
                                f"the runtime ended with {self.life.status}: {self.life.words()}"
                            ) from None
                    await anyio.sleep(_LOOK)

    @property
    def alive(self) -> bool:
        return self.life is not None and self.life.alive

    async def kill(self) -> None:
        """`kill -9` of the process."""
        if self.life is not None:
            await anyio.to_thread.run_sync(self.life.kill)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await self.kill()
