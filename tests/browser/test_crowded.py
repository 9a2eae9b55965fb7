"""The page in use while much happens: many jobs, live updates, keys alone, a phone, the dark."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli, new_cli, wait_until
from serving import UNTIL_GO, Dashboard, Open, card, changes, dashboard, row, shown

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install 'queuectl[test]'")
expect = sync_api.expect

MANY = 20_000
PHONE = {"width": 375, "height": 700}


def completed(spool: Path, count: int) -> None:
    """Let there be many completed jobs, `job-00000` the oldest: one file under many names."""
    first = spool / "completed" / "20260101T000000000Z.0.job-00000.json"
    first.write_text('{"command": "echo hello", "state": "completed", "attempts": 1, "rev": 1, "exit": "0"}')
    for number in range(1, count):
        stamp = f"20260101T{number // 3600 % 24:02}{number // 60 % 60:02}{number % 60:02}000Z"
        os.link(first, spool / "completed" / f"{stamp}.0.job-{number:05}.json")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool with many completed jobs, that all tests of them share."""
    made = new_cli(tmp_path_factory.mktemp("crowd"))
    completed(made.spool, MANY)
    return made


@pytest.fixture
def crowded(crowd: Cli, browser: Any) -> Iterator[Dashboard]:
    with dashboard(crowd) as found:
        yield found


# Many jobs.


def test_of_many_jobs_the_page_holds_only_those_that_it_shows(crowded: Dashboard, open_page: Open) -> None:
    page = open_page(crowded.url)
    expect(card(page, "completed")).to_have_text("20,000")
    expect(page.get_by_text("50 of 20,000 jobs")).to_be_visible()
    assert shown(page) == [f"job-{MANY - 1 - n:05}" for n in range(50)]
    page.get_by_role("button", name="Next").click()
    expect(row(page, f"job-{MANY - 51:05}")).to_be_visible()
    assert shown(page) == [f"job-{MANY - 51 - n:05}" for n in range(50)]


def test_the_oldest_of_many_jobs_is_found_by_its_text(crowded: Dashboard, open_page: Open) -> None:
    page = open_page(crowded.url)
    page.get_by_label("Text in").fill("job-00000")
    expect(row(page, "job-00000")).to_be_visible()
    expect(page.get_by_text("searched 20,000")).to_be_visible()
    assert shown(page) == ["job-00000"]


def test_of_many_jobs_the_oldest_come_first_when_asked_for(crowded: Dashboard, open_page: Open) -> None:
    page = open_page(crowded.url)
    expect(row(page, f"job-{MANY - 1:05}")).to_be_visible()
    page.get_by_role("button", name="When").click()
    expect(row(page, "job-00000")).to_be_visible()
    assert shown(page)[:3] == ["job-00000", "job-00001", "job-00002"]


def test_more_jobs_than_are_listed_at_once_are_counted_before_the_question(crowded: Dashboard, open_page: Open) -> None:
    page = open_page(crowded.url)
    expect(page.get_by_text("50 of 20,000 jobs")).to_be_visible()
    page.get_by_role("button", name="Retry all matching").click()
    expect(page.get_by_role("dialog")).to_contain_text("Retry all 20,000 jobs")


def test_a_page_of_many_stays_selected_and_where_it_was_scrolled_to(
    crowd: Cli, crowded: Dashboard, open_page: Open
) -> None:
    page = open_page(crowded.url)
    expect(page.get_by_text("50 of 20,000 jobs")).to_be_visible()
    page.get_by_label("Select this page").check()
    last = row(page, f"job-{MANY - 50:05}")
    last.scroll_into_view_if_needed()
    page.mouse.move(1, 1)
    before, at = shown(page), page.evaluate("scrollY")
    id = crowd.enqueue("true")
    expect(card(page, "pending")).to_have_text("1")
    expect(page.get_by_role("button", name="1 new")).to_be_enabled()
    crowd.ok("rm", id)
    assert (shown(page), page.evaluate("scrollY"), at > 0) == (before, at, True)
    expect(page.get_by_text("50 jobs selected")).to_be_visible()


# Workers at work.


def test_a_drop_is_shown_while_its_worker_runs_it(served: Dashboard, cli: Cli, open_page: Open) -> None:
    with cli.workers():
        page = open_page("about:blank")
        page.route("**/api/v1/overview", lambda route: route.abort())  # it is pushed, or never seen
        page.goto(served.url)
        expect(page.locator(".link.live")).to_be_visible()
        cli.drop("report.json", {"id": "report", "command": f"cd {cli.cwd}; {UNTIL_GO}"})
        expect(row(page, "report").locator(".badge")).to_have_text("processing")
        expect(card(page, "processing")).to_have_text("1")
        (cli.cwd / "go").touch()
        expect(row(page, "report").locator(".badge")).to_have_text("completed")


def test_rows_under_the_pointer_stay_while_workers_work(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue_all(*({"command": UNTIL_GO, "id": f"old-{n}"} for n in range(4)))
    page = open_page(served.url)
    row(page, "old-2").hover()
    before = shown(page)
    with cli.workers("--count", "2"):
        expect(page.locator("tr .badge.processing")).to_have_count(2)
        cli.put("new", "true")
        (cli.cwd / "go").touch()
        expect(page.locator("tr .badge.completed")).to_have_count(4)
        expect(card(page, "completed")).to_have_text("5")
        assert shown(page) == before


def test_rows_come_and_go_by_themselves_when_nobody_points_at_them(
    served: Dashboard, cli: Cli, open_page: Open
) -> None:
    cli.enqueue("--id", "old", "true")
    page = open_page(served.url)
    page.mouse.move(1, 1)
    expect(row(page, "old")).to_be_visible()
    cli.enqueue("--id", "new", "true")
    expect(row(page, "new")).to_be_visible()
    cli.ok("rm", "old")
    expect(row(page, "old")).to_have_count(0)


def test_what_was_held_back_is_shown_when_the_pointer_leaves(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "old", "true")
    page = open_page(served.url)
    row(page, "old").hover()
    cli.enqueue("--id", "new", "true")
    expect(page.get_by_role("button", name="1 new")).to_be_enabled()
    page.mouse.move(1, 1)
    expect(row(page, "new")).to_be_visible()


def test_a_filter_holds_while_jobs_come_and_change(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page(f"{served.url}?state=pending&q=keep")
    cli.enqueue_all({"command": "true", "id": "keep-1"}, {"command": "true", "id": "other"})
    expect(row(page, "keep-1")).to_be_visible()
    cli.ok("cancel", "keep-1")
    expect(row(page, "keep-1")).to_have_count(0)
    assert shown(page) == []
    assert page.get_by_label("State", exact=True).input_value() == "pending"
    expect(page).to_have_url(f"{served.url}?state=pending&q=keep")


def test_what_is_being_typed_into_the_filter_of_workers_is_left_alone(
    served: Dashboard, cli: Cli, open_page: Open
) -> None:
    page = open_page(served.url)
    field = page.get_by_label("Worker", exact=True)
    field.press_sequentially("box")
    cli.enqueue("--id", "new", "true")
    expect(card(page, "pending")).to_have_text("1")
    assert field.input_value() == "box"
    field.press("Enter")
    expect(page).to_have_url(f"{served.url}?worker=box")


def test_a_form_keeps_what_was_typed_while_jobs_come(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page(served.url)
    page.get_by_role("button", name="Enqueue").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Command").fill("echo half a comm")
    cli.enqueue("true")
    expect(card(page, "pending")).to_have_text("1")
    assert form.get_by_label("Command").input_value() == "echo half a comm"


# Without the stream.


def test_without_the_stream_the_page_asks_every_five_seconds(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page("about:blank")
    page.allowed.append("ERR_FAILED")
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/overview") else None)
    page.route("**/api/v1/events", lambda route: route.abort())
    page.goto(served.url)
    page.clock.run_for(1000)
    expect(page.get_by_text("polling")).to_be_visible()
    page.clock.pause_at(page.evaluate("Date.now()") + 10_000)  # later than the clock is by then
    expect(card(page, "pending")).to_have_text("0")
    before = len(asked)
    cli.enqueue("--id", "new", "true")
    page.clock.run_for(20_000)
    expect(card(page, "pending")).to_have_text("1")
    page.clock.run_for(1000)
    expect(row(page, "new")).to_be_visible()
    assert 4 <= len(asked) - before <= 5


def test_the_page_returns_to_the_stream_as_soon_as_there_is_one(served: Dashboard, open_page: Open) -> None:
    page = open_page("about:blank")
    page.allowed.append("ERR_FAILED")
    page.route("**/api/v1/events", lambda route: route.abort())
    page.goto(served.url)
    expect(page.get_by_text("polling")).to_be_visible()
    page.unroute("**/api/v1/events")
    expect(page.locator(".link.live")).to_be_visible()


# Keys alone.


def test_a_job_is_enqueued_with_keys_alone(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page(served.url)
    expect(page.locator(".link.live")).to_be_visible()
    page.keyboard.press("n")
    expect(page.get_by_role("dialog").get_by_label("Command")).to_be_focused()
    page.keyboard.type("echo by keys")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("dialog").get_by_label("Id")).to_be_focused()
    page.keyboard.type("keys")
    page.keyboard.press("Enter")
    wait_until(lambda: cli.state("keys") == "pending")
    assert cli.job("keys")["command"] == "echo by keys"


def test_escape_closes_a_form_and_gives_the_focus_back(served: Dashboard, open_page: Open) -> None:
    page = open_page(served.url)
    button = page.get_by_role("button", name="Enqueue")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("Enter")  # and it opens again
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_dead_job_is_retried_with_keys_alone(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "one", "--max-retries", "0", "false")
    cli.drain()
    page = open_page(f"{served.url}/dlq")
    expect(row(page, "one")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Tab")
    expect(row(page, "one").get_by_role("button", name="Retry")).to_be_focused()
    page.keyboard.press("Enter")
    wait_until(lambda: cli.state("one") == "pending")


def test_a_question_is_declined_by_escape(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "one", "true")
    cli.ok("cancel", "one")
    page = open_page(f"{served.url}/dlq")
    asked = changes(page)
    row(page, "one").get_by_role("button", name="Delete").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.reload()
    expect(row(page, "one").get_by_role("button", name="Delete")).to_be_visible()
    assert asked == []


# A phone, and the dark.


@pytest.mark.parametrize("path", ["/dashboard", "/docs"])
def test_a_form_and_the_docs_fit_on_a_phone(served: Dashboard, open_page: Open, path: str) -> None:
    page = open_page(f"{served.home}{path}", viewport=PHONE)
    if path == "/docs":
        page.locator("summary").first.click()
    else:
        page.get_by_role("button", name="Enqueue").click()
        box = page.get_by_role("dialog").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_on_a_phone_a_dead_job_is_retried_with_a_tap(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "one", "--max-retries", "0", "false")
    cli.drain()
    page = open_page(f"{served.url}/dlq", viewport=PHONE, has_touch=True, is_mobile=True)
    expect(row(page, "one")).to_contain_text("exit 1")
    row(page, "one").get_by_role("button", name="Retry").tap()
    wait_until(lambda: cli.state("one") == "pending")


CONTRAST = """
() => {
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const over = (colours) => {
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = {};
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !element.checkVisibility() || element.disabled || element.closest('svg, .news.off')) continue;
    const grounds = [];
    for (let up = element; up; up = up.parentElement) grounds.unshift(getComputedStyle(up).backgroundColor);
    const below = light(over(grounds));
    const front = light(over([...grounds, getComputedStyle(element).color]));
    const [high, low] = [Math.max(below, front), Math.min(below, front)];
    found[`${element.tagName}.${element.className} ${element.textContent.slice(0, 20)}`] = (high + 0.05) / (low + 0.05);
  }
  return found;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_told_from_what_is_behind_it(served: Dashboard, cli: Cli, open_page: Open, scheme: str) -> None:
    cli.enqueue("--id", "bad", "--max-retries", "0", "echo out; exit 3")
    cli.enqueue("--id", "again", "--backoff-base", "1000", "exit 4")
    cli.enqueue("--id", "good", "true")
    with cli.workers():
        wait_until(lambda: cli.counts() == {"pending": 0, "processing": 0, "completed": 1, "failed": 1, "dead": 1})
    cli.enqueue("--id", "later", "true")
    for path in ("", "/dlq?by=error", "/jobs/bad"):
        page = open_page(f"{served.url}{path}", color_scheme=scheme)
        expect(page.locator(".link.live")).to_be_visible()
        expect(page.get_by_text("exit 3").first).to_be_visible()
        faint = {what: round(ratio, 2) for what, ratio in page.evaluate(CONTRAST).items() if ratio < 4.5}
        assert faint == {}, path


def test_the_page_is_dark_where_the_system_is(served: Dashboard, open_page: Open) -> None:
    bright = {}
    for scheme in ("light", "dark"):
        page = open_page(served.url, color_scheme=scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        bright[scheme] = sum(map(int, re.findall(r"\d+", colour)[:3]))
    assert bright["dark"] < 150 < 600 < bright["light"]


# What a job needs and where it ran.


def test_a_job_shows_what_it_needs_and_where_it_ran(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "one", "--resource", "cpus=2", "--resource", "mem=4G", "true")
    cli.drain()
    page = open_page(f"{served.url}/jobs/one")
    expect(page.locator("dl")).to_contain_text("cpus=2 mem=4G")
    expect(page.locator(".runs tbody tr td").nth(5)).to_have_text(cli.job("one")["history"][0]["host"])


def test_the_form_takes_what_a_job_needs(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page(served.url)
    page.get_by_role("button", name="Enqueue").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Command").fill("true")
    form.get_by_label("Id").fill("needy")
    form.get_by_label("Resources").fill("cpus")
    form.get_by_role("button", name="Enqueue").click()
    expect(form.get_by_role("alert")).to_contain_text("must be NAME=AMOUNT")
    form.get_by_label("Resources").fill(" cpus=2  share=0.5 mem=4G ")
    form.get_by_role("button", name="Enqueue").click()
    expect(row(page, "needy")).to_be_visible()
    assert cli.job("needy")["resources"] == {"cpus": 2, "share": 0.5, "mem": "4G"}
