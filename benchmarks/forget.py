"""Forget a person, and look for what is left: Repertory beside plain Chroma and mem0.

    python benchmarks/forget.py                     ours and Chroma
    python benchmarks/forget.py --mem0 PYTHON       mem0 as well, in the environment of that Python

Each store is given the same packs, of which some are about one person; then the person is
deleted in the way that the system offers; then every file that it wrote is read through
for the person's name, address and a sentence about her, and (where vectors were kept) for
the deleted vectors. mem0 (2.2.1, with Chroma, facts added as they are) is given an
embedding server on loopback that answers hashes; no model is asked.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import anyio
import numpy as np

from benchmarks.results import write
from repertory.xp_store import (
    HashEmbedder,
    Keys,
    PackDraft,
    Redactor,
    Rule,
    Selector,
    open_database,
    open_pack_store,
)

NAME = "Wilhelmina Oxenstierna-Quackenbush"
ADDRESS = "wilhelmina.q@oxenstierna.example"
SENTENCE = "the retaining wall of her orchard has 4711 stones"
SECRETS = (NAME, ADDRESS, SENTENCE)
ABOUT_HER = 5
DIMENSIONS = 384


def texts(count: int) -> list[str]:
    """What is remembered: plain tasks, and a few about her."""
    plain = [f"post invoice {number} of vendor {number % 97}" for number in range(count)]
    return plain + [
        f"letter {number} to {NAME} <{ADDRESS}>: {SENTENCE}" for number in range(ABOUT_HER)
    ]


def vector(text: str) -> list[float]:
    """A unit vector that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    made = np.random.default_rng(seed).normal(size=DIMENSIONS).astype(np.float32)
    unit: list[float] = (made / np.linalg.norm(made)).tolist()
    return unit


def residue(folder: Path) -> dict[str, int]:
    """How often a secret, or a deleted vector, stands in the files of a folder."""
    needles = [each.encode() for each in SECRETS]
    kept = [np.array(vector(text), dtype=np.float32).tobytes()[:48] for text in texts(0)]
    found = {"text": 0, "vectors": 0}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found["text"] += sum(content.count(needle) for needle in needles)
            found["vectors"] += sum(content.count(needle) for needle in kept)
    return found


class Fixed(HashEmbedder):
    """An embedder that gives every system the same vectors."""

    def __init__(self) -> None:
        super().__init__(DIMENSIONS)

    async def embed(self, texts: Any) -> Any:
        return np.array([vector(text.strip()) for text in texts], dtype=np.float32)


async def ours(folder: Path, count: int) -> str:
    """Record, forget by the address with a certificate, and say what it states."""
    keys = Keys(b"benchmark" * 4)
    redactor = Redactor([Rule("secret", "drop")], keys.pseudonym)
    async with (
        open_database(f"sqlite:///{folder}/store.db") as database,
        open_pack_store(
            database, embedder=Fixed(), index=folder / "index", redactor=redactor
        ) as store,
    ):
        for text in texts(count):
            await store.record(PackDraft(tenant="default", owner="clerk", goal=text))
        await store.wait_indexed()
        certificate = await store.govern.forget(
            Selector(text=(ADDRESS,)), tenant="default", actor="officer"
        )
        assert certificate.deleted == ABOUT_HER
        return (
            f"signed, {sum(certificate.residue_scan.values())} left, rebuild equal:"
            f" {'yes' if certificate.rebuild_digest_equal else 'no'}"
        )


def chroma(folder: Path, count: int) -> str:
    """Add, delete by id, and ask again."""
    import chromadb
    from chromadb.api.client import Client
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
    assert isinstance(client, Client)
    collection = client.get_or_create_collection("packs", embedding_function=None)
    every = texts(count)
    ids = [str(number) for number in range(len(every))]
    for start in range(0, len(every), 1000):
        part = every[start : start + 1000]
        collection.add(
            ids=ids[start : start + 1000],
            documents=part,
            embeddings=np.array([vector(text) for text in part], dtype=np.float32),
        )
    gone = ids[count:]
    collection.delete(ids=gone)
    left = collection.get(ids=gone)["ids"]
    client.close()
    return f"the API says {'gone' if not left else 'still there'}; none"


MEM0 = r"""
import json, os, sys
os.environ.update(MEM0_TELEMETRY="False", OPENAI_API_KEY="none", ANONYMIZED_TELEMETRY="False")
folder, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ["MEM0_DIR"] = folder + "/mem0"
from mem0 import Memory
texts = json.loads(sys.stdin.read())
memory = Memory.from_config({
    "vector_store": {"provider": "chroma", "config": {"collection_name": "packs", "path": folder + "/chroma"}},
    "embedder": {"provider": "openai", "config": {"model": "hash", "openai_base_url": url, "embedding_dims": 384}},
    "llm": {"provider": "openai", "config": {"model": "none", "openai_base_url": url}},
    "history_db_path": folder + "/history.db",
})
hers = []
for at, text in enumerate(texts):
    made = memory.add(text, user_id="her" if at >= count else "them", infer=False)
    if at >= count:
        hers += [each["id"] for each in made["results"]]
for each in hers:
    memory.delete(each)
print(json.dumps({"history": sum("Oxenstierna" in json.dumps(memory.history(each), default=str) for each in hers), "deleted": len(hers)}))
"""


class Embeddings(BaseHTTPRequestHandler):
    """OpenAI's embeddings, answered by hashes."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        given = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        data = [
            {"object": "embedding", "index": at, "embedding": vector(text)}
            for at, text in enumerate(given)
        ]
        body = json.dumps({"object": "list", "data": data, "model": "hash"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  The base class names it.
        """Say nothing."""


def mem0(folder: Path, count: int, python: str) -> str:
    """Add without inference, delete each memory, and ask for its history."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Embeddings)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = subprocess.run(
            [
                python,
                "-c",
                MEM0,
                str(folder),
                f"http://127.0.0.1:{server.server_port}/v1",
                str(count),
            ],
            input=json.dumps(texts(count)),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        server.shutdown()
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1][:200]}"
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return f"`history()` still tells {said['history']} of {said['deleted']}; none"


def measured(name: str, run: Callable[[Path], str]) -> str:
    """One row of the table."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        began = time.process_time()
        proof = run(folder)
        seconds = time.process_time() - began
        left = residue(folder)
    return f"| {name} | {left['text']} | {left['vectors']} | {proof} | {seconds:.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packs", type=int, default=500, help="plain packs beside hers")
    parser.add_argument("--mem0", default="", help="a Python that has mem0ai 2.2.1")
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    given = parser.parse_args()
    count = given.packs
    rows = [
        f"{count} plain packs and {ABOUT_HER} about one person, who is then deleted:",
        "",
        "| store | her texts left in the files | her vectors left | proof | CPU s |",
        "|---|---|---|---|---|",
        measured("Repertory", lambda folder: anyio.run(ours, folder, count)),
        measured("Chroma 1.5.9, `delete`", lambda folder: chroma(folder, count)),
    ]
    if given.mem0:
        rows.append(
            measured("mem0 2.2.1 on Chroma, `delete`", lambda f: mem0(f, count, given.mem0))
        )
    text = "\n".join(rows)
    print(text)
    if given.write:
        write("forget", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
