"""What goes wrong unseen: history, further pages, escapes in output, a server that hangs."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from helpers import Cli, wait_until
from serving import UNTIL_GO, Dashboard, Open, changes, dashboard, row, shown, styles

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install 'queuectl[test]'")
expect = sync_api.expect

DRAWN = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
GAP = "[...document.querySelectorAll('.output')].map((o) => o.scrollHeight - o.scrollTop - o.clientHeight)[0]"


def dead(cli: Cli, count: int) -> None:
    """Let there be dead jobs, without running them."""
    for number in range(count):
        job = {"command": "true", "state": "dead", "attempts": 1, "rev": 1, "exit": "1", "last_error": "exit 1"}
        name = f"20260101T0000{number // 1000:02}{number % 1000:03}Z.1.job-{number:03}.json"
        (cli.spool / "dead" / name).write_text(json.dumps(job))


def end(cli: Cli, *ids: str, command: str = "exit 1") -> None:
    """Let jobs run and be dead, in this order."""
    cli.enqueue_all(*({"command": command, "id": id, "max_retries": 0} for id in ids))
    cli.drain()


# Filters, orders, the way back.


def test_the_way_back_leads_over_what_was_chosen_and_not_over_what_was_typed(
    served: Dashboard, open_page: Open
) -> None:
    page = open_page(served.url)
    page.get_by_label("State", exact=True).select_option("dead")
    expect(page).to_have_url(f"{served.url}?state=dead")
    page.get_by_label("Text in").fill("b")
    expect(page).to_have_url(f"{served.url}?state=dead&q=b")
    page.go_back()
    expect(page).to_have_url(served.url)
    expect(page.get_by_label("Text in")).to_have_value("")


def test_a_filter_begins_at_its_first_page_with_nothing_selected(served: Dashboard, cli: Cli, open_page: Open) -> None:
    dead(cli, 60)
    page = open_page(f"{served.url}/dlq?sort=id")
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Select job-055").check()
    page.get_by_label("Text in").fill("5")
    expect(row(page, "job-005")).to_be_visible()
    assert shown(page) == [f"job-0{n}5" for n in range(5)] + [f"job-05{n}" for n in range(10)]
    expect(page.get_by_role("button", name="Retry all matching")).to_be_visible()
    assert not page.get_by_label("Select job-055").is_checked()


def test_worker_text_and_error_are_combined_and_mean_the_same_jobs_for_all_that_match(
    served: Dashboard, cli: Cli, open_page: Open
) -> None:
    cli.enqueue("--id", "one-more", "--max-retries", "0", "exit 7")
    end(cli, "one", "two")  # the same worker runs all three
    worker = cli.job("one")["history"][0]["worker"]
    page = open_page(f"{served.url}/dlq?q=one&worker={worker}&error=exit+1")
    expect(row(page, "one")).to_be_visible()
    assert shown(page) == ["one"]
    page.get_by_role("button", name="Retry all matching").click()
    expect(page.get_by_role("dialog")).to_contain_text("Retry the one job that matches")
    page.keyboard.press("Escape")
    page.goto(f"{served.url}/dlq?worker=nobody")
    expect(page.get_by_text("No job matches.")).to_be_visible()
    page.get_by_role("button", name="Retry all matching").click()
    expect(page.locator(".toast")).to_have_text("No job matches")


def test_errors_are_grouped_among_the_jobs_that_match(served: Dashboard, cli: Cli, open_page: Open) -> None:
    end(cli, "one", "two")
    end(cli, "seven", command="exit 7")
    page = open_page(f"{served.url}/dlq?by=error&q=one")
    expect(page.locator(".groups li")).to_have_count(1)
    expect(page.locator(".groups li button")).to_have_text("1 exit 1")
    page.goto(f"{served.url}/dlq?by=error&worker=nobody")
    expect(page.get_by_text("No errors.")).to_be_visible()


def test_errors_of_more_jobs_than_are_read_at_once_are_added_up(served: Dashboard, cli: Cli, open_page: Open) -> None:
    dead(cli, 2100)
    page = open_page(f"{served.url}/dlq?by=error")
    expect(page.locator(".groups li button")).to_have_text("2,100 exit 1")


def test_a_click_on_a_heading_turns_the_order_round(served: Dashboard, cli: Cli, open_page: Open) -> None:
    dead(cli, 3)
    page = open_page(f"{served.url}/dlq")
    heading = page.locator("th.col-job")
    for order, ids in (
        ("ascending", ["job-000", "job-001", "job-002"]),
        ("descending", ["job-002", "job-001", "job-000"]),
        ("ascending", ["job-000", "job-001", "job-002"]),
    ):
        heading.get_by_role("button").click()
        expect(heading).to_have_attribute("aria-sort", order)
        wait_until(lambda ids=ids: shown(page) == ids)


def test_no_row_moves_while_one_has_the_focus(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue_all({"command": "true", "id": "one"}, {"command": "true", "id": "two"})
    page = open_page(served.url)
    page.mouse.move(1, 1)
    expect(row(page, "one")).to_be_visible()
    page.keyboard.press("j")
    expect(row(page, "two").get_by_role("link")).to_be_focused()
    cli.enqueue("--id", "new", "true")
    expect(page.get_by_role("button", name="1 new")).to_be_enabled()
    assert shown(page) == ["two", "one"]


# Many at once.


def test_all_of_many_pages_are_retried_and_counted_first(served: Dashboard, cli: Cli, open_page: Open) -> None:
    dead(cli, 520)
    page = open_page(f"{served.url}/dlq")
    expect(page.get_by_text("50 of 520 jobs")).to_be_visible()
    page.get_by_role("button", name="Retry all matching").click()
    expect(page.get_by_role("dialog")).to_contain_text("Retry all 520 jobs")
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Retrying 520 jobs")).to_be_visible()
    assert (cli.counts()["pending"], cli.counts()["dead"]) == (520, 0)


def test_a_page_can_be_selected_when_its_jobs_are_there(served: Dashboard, cli: Cli, open_page: Open) -> None:
    dead(cli, 2)
    page = open_page("about:blank")
    held: list[Any] = []
    page.route("**/api/v1/jobs?*", lambda route: route.continue_() if held else held.append(route))
    page.goto(f"{served.url}/dlq")
    expect(page.get_by_label("Select this page")).to_be_disabled()
    held[0].continue_()
    page.get_by_label("Select this page").check()
    expect(page.get_by_text("2 jobs selected")).to_be_visible()


def test_what_could_not_be_done_is_told(served: Dashboard, cli: Cli, open_page: Open) -> None:
    dead(cli, 2)
    page = open_page(f"{served.url}/dlq")
    page.get_by_label("Select this page").check()
    page.get_by_role("button", name="Retry selected").click()
    cli.ok("rm", "job-001")
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Retrying 1 job", exact=True)).to_be_visible()
    expect(page.get_by_text("1 job left as they were: job-001: no such job")).to_be_visible()
    assert list(cli.jobs("pending")) == ["job-000"]


def test_a_running_job_is_ended_only_after_a_question(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "one", UNTIL_GO)
    with cli.workers():
        page = open_page(f"{served.url}/jobs/one")
        expect(page.locator("h1 .badge")).to_have_text("processing")
        asked = changes(page)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("dialog")).to_contain_text("End one, which is running?")
        page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
        (cli.cwd / "go").touch()
        expect(page.locator("h1 .badge")).to_have_text("completed")
        assert asked == []


def test_a_read_only_page_of_a_job_offers_nothing_and_no_key_does(cli: Cli, browser: Any, open_page: Open) -> None:
    dead(cli, 1)
    with dashboard(cli, "--read-only") as served:
        page = open_page(f"{served.url}/jobs/job-000")
        expect(page.get_by_text("read-only")).to_be_visible()
        expect(page.locator("h1 .badge")).to_have_text("dead")
        page.keyboard.press("n")
        assert page.get_by_role("button").all_inner_texts() == []
        assert page.get_by_role("dialog").count() == 0
        page.close()


# Output.


def test_output_has_the_colours_that_its_escapes_ask_for(served: Dashboard, cli: Cli, open_page: Open) -> None:
    text = (
        r"\033[1;94mA\033[0m\033[42;3mB\033[49mC\033[23;38;5;3mD\033[38;5;200;4mE\033[0mF 1%%\r99%%"
        r"\033]0;title\007\n"
    )
    cli.enqueue("--id", "one", f"printf '{text}'")
    cli.drain()
    page = open_page(f"{served.url}/jobs/one")
    expect(page.get_by_role("log")).to_have_text("ABCDE99%\n")
    assert styles(page) == [["A", "bold f12"], ["B", "b2 italic"], ["C", "italic"], ["D", "f3"], ["E", "underline"]]


def test_each_style_of_output_ends_by_itself(served: Dashboard, cli: Cli, open_page: Open) -> None:
    text = r"\033[2;3;7;101mA\033[22mB\033[23mC\033[27mD\033[0m\033[38;2;1;2;3;4;35mE\033[24mF\033[39mG\n"
    cli.enqueue("--id", "one", f"printf '{text}'")
    cli.drain()
    page = open_page(f"{served.url}/jobs/one")
    expect(page.get_by_role("log")).to_have_text("ABCDEFG\n")
    assert styles(page) == [
        ["A", "dim italic inverse b9"],
        ["B", "italic inverse b9"],
        ["C", "inverse b9"],
        ["D", "b9"],
        ["E", "underline f5"],
        ["F", "f5"],
    ]


def test_a_log_that_is_opened_late_goes_on_in_the_middle_of_an_escape(
    served: Dashboard, cli: Cli, open_page: Open
) -> None:
    cli.enqueue("--id", "one", rf"printf 'first\n\033['; {UNTIL_GO}; printf '31mred\033[0m\n'")
    with cli.workers():
        wait_until(lambda: (cli.spool / "logs" / "one.log").exists() and cli.log("one") == b"first\n\x1b[")
        page = open_page(f"{served.url}/jobs/one")
        expect(page.get_by_role("log")).to_have_text("first\n")
        (cli.cwd / "go").touch()
        expect(page.get_by_role("log").locator("span.f1")).to_have_text("red")
        expect(page.get_by_role("log")).to_have_text("first\nred\n")


def test_a_log_stays_at_its_end_until_somebody_scrolls_up(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "one", f"seq 1 300; {UNTIL_GO}; echo last")
    with cli.workers():
        page = open_page(f"{served.url}/jobs/one")
        expect(page.get_by_role("log")).to_contain_text("300")
        wait_until(lambda: page.evaluate(GAP) < 30)
        page.get_by_role("log").evaluate("log => log.scrollTop = 0")
        expect(page.get_by_role("button", name="To the end")).to_be_visible()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        (cli.cwd / "go").touch()
        expect(page.get_by_role("log")).to_contain_text("last")
        assert page.get_by_role("log").evaluate("log => log.scrollTop") == 0
        expect(page.locator("h1 .badge")).to_have_text("completed")
        page.evaluate(DRAWN)  # and with it, what the end of the job has set off
        assert [url for url in asked if "/log" in url] == []
        assert page.get_by_role("log").evaluate("log => log.scrollTop") == 0
        page.get_by_role("button", name="To the end").click()
        expect(page.get_by_role("button", name="To the end")).to_have_count(0)


def test_a_job_that_is_run_again_is_followed_again(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "one", "echo run; test -e better")
    cli.configure(max_retries=0)
    cli.drain()
    page = open_page(f"{served.url}/jobs/one")
    expect(page.get_by_role("log")).to_have_text("run\n")
    (cli.cwd / "better").touch()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("h1 .badge")).to_have_text("pending")
    cli.drain()
    expect(page.get_by_role("log")).to_have_text("run\nrun\n")


# The server.


def test_a_server_that_hangs_is_told_as_one_that_is_away(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page("about:blank")
    page.clock.install()
    page.goto(served.url)
    expect(page.locator(".link.live")).to_be_visible()
    served.process.send_signal(signal.SIGSTOP)
    page.clock.run_for(20_000)
    expect(page.get_by_text("reconnecting")).to_be_visible()
    served.process.send_signal(signal.SIGCONT)
    page.clock.run_for(20_000)
    expect(page.locator(".link.live")).to_be_visible()


def test_a_stream_that_was_refused_is_asked_for_again(served: Dashboard, open_page: Open) -> None:
    page = open_page("about:blank")
    page.allowed.append("503")
    page.route("**/api/v1/events", lambda route: route.fulfill(status=503))
    page.goto(served.url)
    expect(page.get_by_text("polling")).to_be_visible()
    page.unroute("**/api/v1/events")
    expect(page.locator(".link.live")).to_be_visible()
