"""What the page's tests share: Playwright's waiting assertions, and a run begun by hand."""

from __future__ import annotations

from typing import Any

__all__ = ["Page", "expect", "run"]

Page = Any


def expect(locator: Any) -> Any:
    """Playwright's waiting assertions."""
    from playwright.sync_api import expect as waiting

    return waiting(locator)


def run(page: Page, graph: str, **fields: str) -> None:
    """Pick a graph, type its input, press Enter: at once, as its picture need not be there."""
    page.locator("#fields label").first.wait_for()
    page.select_option("#graph", graph)
    for name, text in fields.items():
        page.fill(f"#field-{name}", text)
    page.keyboard.press("Enter")
