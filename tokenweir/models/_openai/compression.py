"""Decompresses responses within bounds.

httpx2 has no bounds: a few hundred kilobytes can become gigabytes.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2

__all__ = ["ACCEPTED", "DecompressionError", "decompressed"]

ACCEPTED = "gzip, deflate"
"""The ``Accept-Encoding`` of requests."""

MAX_RATIO = 100
"""The factor by which a body may grow. Streamed answers are repetitive, and grow 30 times."""

_ANY_RATIO = 16 << 20
"""Bytes up to which a body may grow by any factor."""

_PORTION = 64 << 10
"""Bytes that are decompressed at once."""


class DecompressionError(httpx2.DecodingError):
    """Raised when a compressed response is damaged, or grows beyond the bounds."""


def decompressed(response: httpx2.Response) -> httpx2.Response:
    """The response with its body decompressed; unchanged if the body is not compressed."""
    if "content-encoding" not in response.headers:
        return response
    encoding = response.headers["content-encoding"].strip().lower()
    if encoding in ("identity", ""):
        return response
    headers = [
        (name, value)
        for name, value in response.headers.raw
        if name.lower() not in (b"content-encoding", b"content-length")
    ]
    known = ("http_version", "reason_phrase", "network_stream")  # no way past this stream
    extensions = {name: response.extensions[name] for name in known if name in response.extensions}
    return httpx2.Response(
        response.status_code,
        headers=headers,
        stream=_Decompressed(response.stream, encoding),
        extensions=extensions,
    )


class _Decompressed(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    """A body, async or sync as the one that it is made of."""

    def __init__(self, body: Any, encoding: str) -> None:
        self._body = body
        self._encoding = encoding

    def __iter__(self) -> Iterator[bytes]:
        decoder = _Decoder(self._encoding)
        for data in self._body:
            yield from decoder.feed(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        decoder = _Decoder(self._encoding)
        async for data in self._body:
            for portion in decoder.feed(data):
                yield portion

    def close(self) -> None:
        self._body.close()

    async def aclose(self) -> None:
        await self._body.aclose()


class _Decoder:
    """Compressed bytes in, portions of decompressed ones out. No I/O."""

    def __init__(self, encoding: str) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise DecompressionError(
                f"the provider compressed its response as {encoding}, but was asked for {ACCEPTED}"
            )
        self._gzip = encoding != "deflate"
        self._inflate: Any = None
        self._received = 0
        self._made = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress; raises DecompressionError."""
        if not data:
            return
        if self._inflate is None:
            # A deflated body should begin with a header of zlib's; some servers leave it out.
            headed = data[0] & 0x8F == zlib.DEFLATED
            bits = zlib.MAX_WBITS if headed else -zlib.MAX_WBITS
            self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS if self._gzip else bits)
        self._received += len(data)
        full = True
        while data or full:
            try:
                portion = self._inflate.decompress(data, _PORTION)
            except zlib.error as error:
                raise DecompressionError(f"the provider's response is damaged: {error}") from None
            data, full = self._inflate.unconsumed_tail, len(portion) == _PORTION
            self._made += len(portion)
            if self._made > max(_ANY_RATIO, MAX_RATIO * self._received):
                raise DecompressionError(
                    f"the provider's response was refused, because it grows more than {MAX_RATIO} "
                    f"times when it is decompressed"
                )
            if portion:
                yield portion
