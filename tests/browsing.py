"""A headless Chromium for the tests of pages, with nothing of the user's and nothing from a network."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def executable() -> str | None:
    """Chromium's path: $CHROMIUM, or that of Debian's package."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


def lacking() -> str:
    """Why there is no browser here; '' where there is one."""
    missing = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
    if missing:
        return f"needs {', '.join(missing)}: pip install 'mrsr-bench[browser]'"
    return "" if executable() else "needs Chromium (apt-get install chromium), or its path in CHROMIUM"


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser with a profile of its own, which is removed afterwards."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}
        browser = playwright.chromium.launch(executable_path=executable(), args=[*_FLAGS], env=environment)
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Any, folder: Path, address: str = "", **settings: Any) -> Any:
    """A tab with a view of the page in a folder, from disk. `settings`: viewport, color_scheme.

    `seen` of the tab collects what must not happen: errors, calls of boom(), and requests that leave the folder.
    """
    tab = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **settings})
    tab.seen = []
    tab.set_default_timeout(10_000)
    tab.on("console", lambda message: tab.seen.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: tab.seen.append(f"error: {error}"))
    inside = folder.resolve().as_uri() + "/"
    tab.on("request", lambda request: None if request.url.startswith(inside) else tab.seen.append(request.url))
    tab.add_init_script("window.booms = 0; window.boom = () => { window.booms += 1 }")
    go(tab, folder, address)
    return tab


def go(tab: Any, folder: Path, address: str = "") -> None:
    """Open a view of the page as a link would, and wait until it is there."""
    tab.goto("about:blank")
    tab.goto(f"{folder.resolve().as_uri()}/index.html{address}")
    settle(tab)


def settle(tab: Any) -> None:
    """Wait until the view of the present address is there."""
    tab.wait_for_selector("html[data-ready=true]")
