"""Who may come in, and what a page may do."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from api.caller import HOST, Caller

import queuectl.api
from queuectl.api.door import Door
from queuectl.errors import Refused
from queuectl.job import State
from queuectl.queue import Queue

TOKEN = "t" * 48


@pytest.fixture
def locked(queue: Queue) -> Iterator[Caller]:
    """A door that needs a token."""
    caller = Caller(Door(queue.path, frozenset({"box", "127.0.0.1"}), TOKEN))
    yield caller
    caller.door.close()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", "", "[::1", "a@127.0.0.1"]
)
def test_a_name_that_is_not_ours_is_refused_everywhere(api: Caller, host: str) -> None:
    for path in ("/dashboard", "/api/v1/jobs", "/metrics", "/static/app.js", "/nothing"):
        assert api.status("GET", path, headers={"host": host}) == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "localhost."])
def test_the_names_of_this_machine_are_ours(api: Caller, host: str) -> None:
    assert api.status("GET", "/api/v1/counts", headers={"host": host}) == 200


def test_who_names_two_hosts_is_refused(api: Caller) -> None:
    assert api.status("GET", "/api/v1/counts", headers={"host": [HOST, "evil.example"]}) == 421


def test_the_address_that_was_connected_to_is_ours_where_a_token_is_needed_and_only_there(
    api: Caller, locked: Caller
) -> None:
    api.server = locked.server = ("192.0.2.7", 8000)
    headers = {"host": "192.0.2.7:8000", "authorization": f"Bearer {TOKEN}"}
    assert locked.status("GET", "/api/v1/counts", headers=headers) == 200
    assert api.status("GET", "/api/v1/counts", headers=headers) == 421


FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9000"},
    {"origin": "http://127.0.0.1:8000.evil.example"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/jobs", {"command": "true"}),
        ("POST", "/api/v1/jobs/one/cancel", None),
        ("DELETE", "/api/v1/jobs/one", None),
        ("PUT", "/api/v1/pause", {"paused": True}),
        ("POST", "/login", None),
    ],
)
def test_a_page_of_another_site_changes_nothing(
    api: Caller, queue: Queue, method: str, path: str, body: object
) -> None:
    queue.enqueue("true", id="one")
    for headers in FOREIGN:
        assert api.status(method, path, body, headers=headers) == 403, headers
    assert (queue.counts()[State.PENDING], queue.status().paused) == (1, False)


def test_our_own_page_and_programs_may_change_something(api: Caller) -> None:
    own = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert api.status("POST", "/api/v1/jobs", {"command": "true"}, headers=own) == 201
    assert api.status("POST", "/api/v1/jobs", {"command": "true"}, headers={"sec-fetch-site": "none"}) == 201
    assert api.status("POST", "/api/v1/jobs", {"command": "true"}) == 201


def test_no_other_site_is_allowed_to_read_answers(api: Caller) -> None:
    for method in ("GET", "OPTIONS"):
        answer = api.ask(method, "/api/v1/jobs", headers={"origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_read_only_door_changes_nothing(queue: Queue) -> None:
    queue.enqueue("true", id="one")
    caller = Caller(Door(queue.path, read_only=True))
    for method, path in (("POST", "/api/v1/jobs"), ("DELETE", "/api/v1/jobs/one"), ("PUT", "/api/v1/pause")):
        assert caller.status(method, path, {"command": "true"}) == 403
    assert caller.get("/api/v1/overview")["read_only"] is True
    assert queue.counts()[State.PENDING] == 1
    caller.door.close()


def test_a_read_only_door_takes_the_token(queue: Queue) -> None:
    caller = Caller(Door(queue.path, token=TOKEN, read_only=True))
    assert caller.ask("POST", "/login", content=f"token={TOKEN}".encode()).status == 303
    caller.door.close()


WRONG = ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "é"]


@pytest.mark.parametrize("given", [None, f"Basic {TOKEN}", *(f"Bearer {word}" for word in WRONG)])
def test_nothing_is_answered_without_the_token(locked: Caller, given: str | None) -> None:
    headers = {"authorization": given} if given else {}
    for path in ("/api/v1/jobs", "/metrics", "/openapi.json", "/docs", "/dashboard", "/nothing"):
        assert locked.status("GET", path, headers=headers) == 401
        assert locked.ask("GET", path, headers=headers).headers["www-authenticate"].startswith("Bearer ")


def test_the_token_opens_the_api(locked: Caller) -> None:
    assert locked.status("GET", "/api/v1/jobs", headers={"authorization": f"Bearer {TOKEN}"}) == 200


def test_the_token_is_compared_in_a_time_that_tells_nothing(locked: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    same = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append(one) or same(one, other))
    for word in ("wrong", TOKEN):
        locked.ask("GET", "/api/v1/jobs", headers={"authorization": f"Bearer {word}"})
    assert compared == [b"wrong", b"", TOKEN.encode()]


def test_the_token_in_the_address_becomes_a_cookie_and_a_wrong_one_does_not(locked: Caller) -> None:
    knows = {"authorization": f"Bearer {TOKEN}"}  # nobody else comes as far
    entered = locked.ask("GET", f"/dashboard?token={TOKEN}", headers=knows)
    assert (entered.status, entered.headers["location"]) == (303, "/dashboard")
    assert entered.headers["set-cookie"].startswith(f"queuectl_token={TOKEN};")
    refused = locked.ask("GET", "/dashboard?token=wrong", headers=knows)
    assert (refused.status, "set-cookie" in refused.headers) == (200, False)


def test_the_page_that_asks_for_the_token_has_its_style(locked: Caller) -> None:
    assert locked.ask("GET", "/static/style.css").status == 200


def test_a_browser_is_asked_for_the_token(locked: Caller) -> None:
    answer = locked.ask("GET", "/dashboard", headers={"accept": "text/html"})
    assert (answer.status, "text/html" in answer.headers["content-type"]) == (401, True)
    assert '<form method="post" action="/login"' in answer.text


def test_the_token_in_the_form_becomes_a_cookie_that_scripts_cannot_read(locked: Caller) -> None:
    form = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://{HOST}"}
    answer = locked.ask("POST", "/login", content=f"token={TOKEN}".encode(), headers=form)
    assert (answer.status, answer.headers["location"]) == (303, "/dashboard")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert locked.status("GET", "/api/v1/jobs", headers={"cookie": cookie.split(";")[0]}) == 200


def test_a_wrong_token_in_the_form_opens_nothing(locked: Caller) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = locked.ask("POST", "/login", content=b"token=wrong", headers=form)
    assert (answer.status, "set-cookie" in answer.headers) == (401, False)


def test_a_form_that_goes_on_for_ever_is_not_read(locked: Caller) -> None:
    pieces = (b"token=" + b"x" * 1000 for _ in range(9))
    assert locked.ask("POST", "/login", content=pieces).status == 413


def test_the_token_in_the_spool_is_for_its_owner_alone(queue: Queue) -> None:
    token, made = queue.token()
    path = queue.path / "dashboard.token"
    assert (made, path.stat().st_mode & 0o777, path.read_text().strip()) == (True, 0o600, token)
    assert len(token) >= 32


def test_the_token_stays_the_same(queue: Queue) -> None:
    token, _ = queue.token()
    assert Queue(queue.path).token() == (token, False)


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o644), lambda path: path.write_text("short")])
def test_a_token_that_others_may_know_is_not_used(queue: Queue, spoil: object) -> None:
    queue.token()
    spoil(queue.path / "dashboard.token")  # type: ignore[operator]
    with pytest.raises(Refused, match=r"dashboard\.token"):
        queue.token()


POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}


@pytest.mark.parametrize("host", [HOST, "evil.example"])
@pytest.mark.parametrize("path", ["/dashboard", "/docs", "/api/v1/jobs", "/nothing", "/static/app.js"])
def test_every_answer_forbids_what_is_not_ours(api: Caller, path: str, host: str) -> None:
    headers = api.ask("GET", path, headers={"host": host}).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    own, *inline = policy.pop("script-src").split()
    assert (own, [word for word in inline if not word.startswith("'sha256-")]) == ("'self'", [])
    assert policy == POLICY
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    alone = ("referrer-policy", "cross-origin-resource-policy", "cross-origin-opener-policy")
    assert [headers[name] for name in alone] == ["same-origin"] * 3


def test_no_other_file_is_served_as_static(api: Caller, tmp_path: Path) -> None:
    (tmp_path / "other.js").write_text("1")
    static = Path(queuectl.api.__file__).parent / "static"
    others = ["../app.py", "..%2Fapp.py", "vendor/../../app.py", "/etc/passwd"]
    others += [f"{tmp_path}/other.js", os.path.relpath(tmp_path / "other.js", static)]
    for path in [*others, "", "vendor", "vendor/SHA256SUMS", "nothing.js"]:
        assert api.ask("GET", f"/static/{path}").status == 404, path


def test_the_files_of_others_are_those_that_were_published() -> None:
    vendor = Path(queuectl.api.__file__).parent / "static" / "vendor"
    listed = dict(reversed(line.split()) for line in (vendor / "SHA256SUMS").read_text().splitlines())
    there = {path.relative_to(vendor).as_posix(): path for path in vendor.rglob("*") if path.is_file()}
    assert {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items() if name in listed
    } == listed
    assert set(there) - set(listed) == {"SHA256SUMS", "README.md"}
