"""Single requests to the servers of tests: httpx's, but patient.

httpx's own give up after five seconds, and each makes a TLS context, which takes 30 ms of CPU time.
"""

from __future__ import annotations

import ssl
from functools import partial

import httpx

__all__ = ["get", "post", "request", "stream"]

_TLS = ssl.create_default_context()  # not used: the servers speak plain HTTP

get = partial(httpx.get, timeout=60, verify=_TLS)
post = partial(httpx.post, timeout=60, verify=_TLS)
request = partial(httpx.request, timeout=60, verify=_TLS)
stream = partial(httpx.stream, timeout=60, verify=_TLS)
