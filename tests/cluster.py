"""A real PostgreSQL of the tests' own: on a socket in a temporary folder, gone with them."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from time import monotonic, sleep

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}
# A test that pulls the plug asks for the second kind.
_CHEAP = {"fsync": "off", "full_page_writes": "off"}


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest there is; None where there is none."""
    on_path = shutil.which("initdb")
    found = [
        each
        for place in _PLACES
        for each in Path("/").glob(place.removeprefix("/"))
        if (each / "initdb").exists() and (each / "postgres").exists()
    ]
    if found:
        return max(found, key=str)
    return Path(on_path).resolve().parent if on_path else None


class Cluster:
    """One server; `url` names a fresh database of it, `stop` leaves nothing behind."""

    def __init__(self, folder: Path, bin_folder: Path, *, durable: bool = False) -> None:
        self.folder = folder
        self._bin = bin_folder
        self._settings = _SETTINGS if durable else _SETTINGS | _CHEAP
        self._server: subprocess.Popen[bytes] | None = None
        self._count = 0
        # PostgreSQL refuses to run as root.
        self._as = _another_user() if os.geteuid() == 0 else []
        folder.mkdir(parents=True, exist_ok=True)
        if self._as:
            shutil.chown(folder, *_account())
        self._run(
            *("initdb", "-D", str(folder / "data"), "-U", "repertory", "-A", "trust"),
            *("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        )

    @property
    def process(self) -> int:
        """The process id of the server."""
        assert self._server is not None, "the server runs"
        return self._server.pid

    @property
    def runs(self) -> bool:
        """Whether the server has been started and has not ended."""
        return self._server is not None and self._server.poll() is None

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        data = str(self.folder / "data")
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        argv = [str(self._bin / "postgres"), "-D", data, "-k", str(self.folder), *options]
        with (self.folder / "log").open("ab") as log:
            # The server ends with whoever started it, however that ends.
            self._server = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", *self._as, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        until = monotonic() + 60
        ready = [str(self._bin / "pg_isready"), "-q", "-h", str(self.folder)]
        while subprocess.run(ready, check=False).returncode:
            if self._server.poll() is not None or monotonic() > until:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            sleep(0.05)

    def stop(self, kind: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: INT at once and in order, QUIT as a crash."""
        if self._server is not None:
            self._server.send_signal(kind)
            try:
                self._server.wait(30)
            except subprocess.TimeoutExpired:
                # It recovers from a crash, and is not to be waited for.
                self._server.kill()
                self._server.wait(30)
            self._server = None

    def new_database(self) -> str:
        """The URL of a database that nobody else uses."""
        self._count += 1
        name = f"store{self._count}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def new_store(self) -> str:
        """The URL of a schema that nobody else uses, for a twentieth of a database's price."""
        self._count += 1
        name = f"store{self._count}"
        self.sql(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}&options=-csearch_path%3D{name}"

    def url(self, database: str) -> str:
        """The URL of a database of this server."""
        return f"postgresql://repertory@/{database}?host={self.folder}"

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Run one statement by `psql`."""
        self._run(
            *("psql", "-q", "-h", str(self.folder), "-U", "repertory", "-d", database),
            *("-v", "ON_ERROR_STOP=1", "-c", statement),
        )

    def _run(self, program: str, *argv: str) -> None:
        done = subprocess.run(
            [*(["setpriv", *self._as] if self._as else []), str(self._bin / program), *argv],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.strip()}")


def _account() -> tuple[str, str]:
    import grp
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return name, grp.getgrgid(entry.pw_gid).gr_name
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _another_user() -> list[str]:
    user, group = _account()
    return [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
