"""Single requests to the servers of tests: httpx's, but patient.

httpx's own give up after five seconds, which a busy machine may take for a first answer.
"""

from __future__ import annotations

from functools import partial

import httpx

__all__ = ["get", "post", "request", "stream"]

get = partial(httpx.get, timeout=60)
post = partial(httpx.post, timeout=60)
request = partial(httpx.request, timeout=60)
stream = partial(httpx.stream, timeout=60)
