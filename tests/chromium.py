"""Headless Chromium, and pages of reports in it: for the tests marked `browser`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `make test` runs without it
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]


def launched() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, (
        f"no Chromium is installed ({', '.join(NAMES)}): make test-browser installs Debian's"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def opening(browser: Browser, pages: Mapping[str, Path]) -> Iterator[Callable[..., Page]]:
    """Yields a function that opens one of the pages at a width in pixels.

    No page may ask for anything but files, or say anything on its console.
    """
    messages: list[str] = []
    asked: list[str] = []

    def opened(name: str, width: int = 1200, view: str = "", **options: Any) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, offline=True, **options
        )
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(pages[name].as_uri() + view)
        return page

    yield opened
    for context in browser.contexts:
        context.close()
    assert messages == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
