"""The description: that it is of this server, is OpenAPI, and can be read by people."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route, WebSocketRoute

from tests.described import describe
from tokenweir.serving.app import protocol_routes
from tokenweir.serving.problems import Limits
from tokenweir.serving.service import Service


def operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(path, method) for path, found in document["paths"].items() for method in found}


async def test_every_route_is_described_and_none_else() -> None:
    """The description's paths and methods are those that the server has."""
    there = set()
    for route in protocol_routes(Service(Limits())):
        if isinstance(route, WebSocketRoute):  # OpenAPI has no words for it
            continue
        assert isinstance(route, Route)
        if not route.include_in_schema:  # it only says that something is not offered
            continue
        path = re.sub(r":\w+}", "}", route.path)
        there |= {(path, method.lower()) for method in (route.methods or ()) if method != "HEAD"}
    assert operations(describe(keys=False)) == there


def test_it_is_openapi() -> None:
    """The document is valid OpenAPI 3.1, every operation has its own id, every schema a use."""
    document = describe(keys=True)
    OpenAPIV31SpecValidator(document).validate()
    found = [each for paths in document["paths"].values() for each in paths.values()]
    ids = [each["operationId"] for each in found]
    assert len(set(ids)) == len(ids)
    used = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert used == set(document["components"]["schemas"])
    assert all("401" in each["responses"] for each in found if each.get("security") != [])


def test_it_says_whether_keys_are_needed() -> None:
    """With keys every operation asks for one, but for those that are open; without, none."""
    assert describe(keys=False)["security"] == []
    document = describe(keys=True)
    assert document["security"] == [{"key": []}, {"bearer": []}]
    open_ones = {
        path
        for path, found in document["paths"].items()
        for each in found.values()
        if each.get("security") == []
    }
    assert open_ones == {"/", "/ok", "/docs", "/openapi.json", "/page/{name}"}


class Page(HTMLParser):
    """What a page links to, its ids, its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name == "id" and value:
                self.ids.append(value)


def test_people_can_read_it(serve: Callable[..., Any], http: httpx.Client) -> None:
    """/docs shows every operation, runs no script, and needs nothing from elsewhere, nor a key."""
    server = serve("sample:writes", "--memory", TOKENWEIR_API_KEYS="ann-key")
    document = http.get(f"{server.url}/openapi.json").json()
    assert document == describe(keys=True)
    answer = http.get(f"{server.url}/docs")
    assert answer.headers["content-type"].startswith("text/html")
    page = Page(answer.text)
    assert "script" not in page.tags
    assert not any(urlsplit(link).netloc for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    ids = {each["operationId"] for found in document["paths"].values() for each in found.values()}
    assert ids <= set(page.ids)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for link in page.links:
        assert http.get(urljoin(f"{server.url}/docs", link)).status_code == 200
