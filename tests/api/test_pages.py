"""The files that make up the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from api.caller import Caller

import queuectl.api

STATIC = Path(queuectl.api.__file__).parent / "static"


def reached(name: str, names: dict[str, str]) -> set[str]:
    """Return the modules that a module imports, and those that these import."""
    text = (STATIC / name.removeprefix("/static/")).read_text("utf-8")
    found = {name}
    for wanted in re.findall(r'(?:from|import)\s*"([^"]+)"', text):
        path = names.get(wanted) or f"/static/{wanted.removeprefix('./')}"
        if path not in found:
            found |= reached(path, names)
    return found


def test_the_page_asks_for_all_its_modules_at_once() -> None:
    text = (STATIC / "index.html").read_text("utf-8")
    names = dict(re.findall(r'"([a-z/]+)": "(/static/[^"]+)"', text))
    (main,) = re.findall(r'<script type="module" src="([^"]+)"', text)
    assert {main, *re.findall(r'rel="modulepreload" href="([^"]+)"', text)} == reached(main, names)
    assert len(reached(main, names)) > 8


def test_a_static_file_is_sent_again_only_when_it_has_changed(api: Caller) -> None:
    first = api.ask("GET", "/static/app.js")
    assert (first.status, first.content) == (200, (STATIC / "app.js").read_bytes())
    tag = first.headers["etag"]
    same = api.ask("GET", "/static/app.js", headers={"if-none-match": f'"other", {tag}'})
    assert (same.status, same.content, same.headers["etag"]) == (304, b"", tag)
    assert api.ask("GET", "/static/lib.js", headers={"if-none-match": tag}).status == 200


def test_a_browser_asks_whether_a_static_file_has_changed(api: Caller) -> None:
    assert api.ask("GET", "/static/app.js").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/dashboard", "/api/v1/jobs", "/metrics", "/openapi.json", "/nothing"])
def test_what_tells_of_jobs_is_kept_nowhere(api: Caller, path: str) -> None:
    assert api.ask("GET", path).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.js", "text/javascript"),
        ("vendor/htm/htm.mjs", "text/javascript"),
        ("style.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_a_static_file_has_the_type_that_browsers_insist_on(api: Caller, name: str, kind: str) -> None:
    assert api.ask("GET", f"/static/{name}").headers["content-type"].partition(";")[0] == kind
