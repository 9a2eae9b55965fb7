"""A real browser: Debian's chromium, headless, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import Cli
from serving import Dashboard, dashboard

pytest.importorskip("uvicorn", reason="the dashboard's extra is missing: pip install 'queuectl[test]'")
api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install 'queuectl[test]'")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_MS = 30_000
api.expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    words = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=words)
        yield found
        found.close()


@pytest.fixture
def served(cli: Cli, browser: Any) -> Iterator[Dashboard]:
    """A dashboard on a new spool."""
    with dashboard(cli) as found:
        yield found


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open pages; each has to be without errors, violations of the policy and requests to others at the end."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def open_page(url: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.allowed = []  # texts that the console may show: a test that stops the server sees failed requests
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("console", lambda said: _hear(page, said, troubles))
        page.on("request", lambda asked: None if _is_ours(asked.url) else troubles.append(asked.url))
        # The policy's violations are reported as events too, even those that reach no console.
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('policy: ' + e.violatedDirective))"
        )
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def _is_ours(url: str) -> bool:
    return url == "about:blank" or url.startswith("http://127.0.0.1:")


def _hear(page: Any, said: Any, troubles: list[str]) -> None:
    if said.type in ("error", "warning") and not any(text in said.text for text in page.allowed):
        troubles.append(f"console: {said.text}")
