"""What a person sees in the browser, and can do there."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers import Cli, wait_until
from serving import Dashboard, Open, card, dashboard, row, shown

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install 'queuectl[test]'")
expect = sync_api.expect


def enqueue_dead(cli: Cli, *ids: str) -> None:
    """Let jobs be dead, in this order; they succeed as soon as there is a file `better`."""
    cli.enqueue_all(*({"command": "echo trying; test -e better", "id": id, "max_retries": 0} for id in ids))
    cli.drain()


# Looking.


def test_a_job_that_is_dropped_with_mv_appears(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page(served.url)
    expect(card(page, "pending")).to_have_text("0")
    cli.drop("report.json", {"command": "make report"})
    expect(row(page, "report.json")).to_be_visible()
    expect(card(page, "pending")).to_have_text("1")


def test_the_counts_are_pushed_while_workers_work(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page(served.url)
    expect(page.locator(".link.live")).to_be_visible()
    with cli.workers():
        cli.put("ok", "true")
        cli.put("bad", "false", max_retries=0)
        expect(card(page, "completed")).to_have_text("1")
        expect(card(page, "dead")).to_have_text("1")
        expect(card(page, "workers")).to_have_text("1")
    expect(card(page, "workers")).to_have_text("0")


def test_the_chart_and_the_donut_say_in_words_what_they_show(served: Dashboard, cli: Cli, open_page: Open) -> None:
    enqueue_dead(cli, "one", "two")
    page = open_page(served.url)
    expect(page.get_by_role("img", name="0 jobs finished, 2 failed in the last hour")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(r"\b2 dead"))).to_be_visible()


def test_a_job_has_a_page_with_its_runs_and_its_output(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "twice", "--max-retries", "1", "--backoff-base", "0", "echo run $QUEUECTL_ATTEMPT; exit 3")
    cli.drain()
    page = open_page(served.url)
    page.get_by_role("link", name="twice").click()
    expect(page).to_have_url(f"{served.url}/jobs/twice")
    expect(page.locator(".runs tbody tr")).to_have_count(2)
    expect(page.get_by_role("log")).to_have_text("run 1\nrun 2\n")
    page.locator(".runs").get_by_role("button", name="Output").nth(1).click()
    expect(page.get_by_role("log")).to_have_text("run 2\n")


def test_a_log_follows_what_is_printed(served: Dashboard, cli: Cli, open_page: Open) -> None:
    wait = "while ! [ -e go ]; do sleep 0.05; done"
    cli.enqueue("--id", "slow", f"printf '\\033[31mred\\033[0m plain\\n'; {wait}; echo done")
    page = open_page(f"{served.url}/jobs/slow")
    with cli.workers():
        expect(page.get_by_role("log")).to_have_text("red plain\n")
        expect(page.get_by_role("log").locator("span.f1")).to_have_text("red")
        (cli.cwd / "go").touch()
        expect(page.get_by_role("log")).to_have_text("red plain\ndone\n")
        expect(page.locator("h1 .badge")).to_have_text("completed")


def test_a_large_log_shows_its_end_and_earlier_parts_on_demand(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "long", "seq 1 50000")
    cli.drain()
    page = open_page(f"{served.url}/jobs/long")
    expect(page.get_by_role("log")).to_contain_text("50000")
    assert not page.get_by_role("log").text_content().startswith("1\n")
    page.get_by_role("button", name="Earlier").click()
    wait_until(lambda: page.get_by_role("log").text_content().startswith("1\n"))
    assert page.get_by_role("log").text_content() == "".join(f"{n}\n" for n in range(1, 50001))


def test_commands_and_output_are_text_and_never_markup(served: Dashboard, cli: Cli, open_page: Open) -> None:
    markup = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    cli.enqueue("--id", "evil", "--max-retries", "0", f"echo '{markup}'; exit 1")
    cli.drain()
    page = open_page(served.url)
    expect(row(page, "evil")).to_contain_text(markup)
    row(page, "evil").get_by_role("link").click()
    expect(page.get_by_role("log")).to_have_text(f"{markup}\n")
    assert page.locator("main img, main script").count() == 0


def test_the_page_asks_for_its_first_list_once(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "one", "true")
    page = open_page("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/v1/jobs?" in request.url else None)
    page.goto(served.url)
    expect(row(page, "one")).to_be_visible()
    expect(page.locator(".link.live")).to_be_visible()
    heard = page.locator(".updated").inner_text()
    expect(page.locator(".updated")).not_to_have_text(heard)  # the next sign of life
    assert len(asked) == 1


# Filters and pages.


def test_filters_stand_in_the_address_and_survive_a_reload(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "apple", "true")
    enqueue_dead(cli, "banana", "blueberry", "cherry")
    page = open_page(served.url)
    page.get_by_label("State", exact=True).select_option("dead")
    page.get_by_label("Text in").fill("b")
    page.get_by_label("Text in").fill("berry")
    expect(row(page, "banana")).to_have_count(0)
    expect(page).to_have_url(f"{served.url}?state=dead&q=berry")
    page.reload()
    expect(row(page, "blueberry")).to_be_visible()
    assert shown(page) == ["blueberry"]
    assert page.get_by_label("Text in").input_value() == "berry"
    assert page.get_by_label("State", exact=True).input_value() == "dead"


def test_pages_go_on_and_back(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue_all(*({"command": "true", "id": f"job-{n:03}"} for n in range(120)))
    page = open_page(f"{served.url}?sort=id")
    seen = []
    for first in ("job-000", "job-050", "job-100"):
        expect(row(page, first)).to_be_visible()
        seen += shown(page)
        if first != "job-100":
            page.get_by_role("button", name="Next").click()
    assert seen == [f"job-{n:03}" for n in range(120)]
    page.get_by_role("button", name="Back").click()
    expect(row(page, "job-050")).to_be_visible()
    page.reload()
    expect(row(page, "job-050")).to_be_visible()


def test_no_row_moves_under_the_pointer(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue_all(*({"command": "true", "id": f"old-{n}"} for n in range(3)))
    page = open_page(served.url)
    row(page, "old-1").hover()
    before = shown(page)
    cli.enqueue("--id", "new", "true")
    expect(page.get_by_role("button", name="1 new")).to_be_enabled()
    assert shown(page) == before
    page.get_by_role("button", name="1 new").click()
    expect(row(page, "new")).to_be_visible()
    assert shown(page) == ["new", *before]


def test_a_selection_outlives_what_comes_and_changes(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue_all({"command": "true", "id": "one"}, {"command": "true", "id": "two"})
    page = open_page(served.url)
    page.get_by_label("Select one").check()
    page.mouse.move(5, 5)
    cli.ok("cancel", "one")
    cli.enqueue("--id", "new", "true")
    expect(row(page, "one").locator(".badge")).to_have_text("dead")
    expect(page.get_by_label("Select one")).to_be_checked()
    assert shown(page) == ["two", "one"]


def test_a_text_that_is_being_typed_is_left_alone(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page(served.url)
    field = page.get_by_label("Text in")
    field.press_sequentially("n")
    cli.enqueue("--id", "new", "true")
    expect(card(page, "pending")).to_have_text("1")
    field.press_sequentially("ew")
    expect(row(page, "new")).to_be_visible()
    assert field.input_value() == "new"


# Doing.


def test_a_dead_job_is_found_and_run_again(served: Dashboard, cli: Cli, open_page: Open) -> None:
    enqueue_dead(cli, "one", "two")
    page = open_page(served.url)
    page.get_by_role("link", name="Dead letters").click()
    expect(row(page, "one")).to_contain_text("exit 1")
    (cli.cwd / "better").touch()
    with cli.workers():
        row(page, "one").get_by_role("button", name="Retry").click()
        wait_until(lambda: cli.state("one") == "completed")
        expect(page.locator(".pill").first).to_have_text("1")
    assert cli.state("two") == "dead"


def test_all_that_match_are_retried_and_the_question_says_how_many(
    served: Dashboard, cli: Cli, open_page: Open
) -> None:
    enqueue_dead(cli, "back-1", "back-2", "back-3", "other")
    page = open_page(f"{served.url}/dlq?q=back")
    expect(row(page, "back-1")).to_be_visible()
    page.get_by_role("button", name="Retry all matching").click()
    expect(page.get_by_role("dialog")).to_contain_text("Retry all 3 jobs")
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    wait_until(lambda: cli.counts() == {"pending": 3, "processing": 0, "completed": 0, "failed": 0, "dead": 1})
    expect(page.get_by_role("status").filter(has_text="Retrying 3 jobs")).to_be_visible()


def test_selected_jobs_are_retried(served: Dashboard, cli: Cli, open_page: Open) -> None:
    enqueue_dead(cli, "one", "two", "three")
    page = open_page(f"{served.url}/dlq")
    for id in ("one", "three"):
        page.get_by_label(f"Select {id}", exact=True).check()
    page.get_by_role("button", name="Retry selected").click()
    expect(page.get_by_role("dialog")).to_contain_text("2 selected jobs")
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    wait_until(lambda: sorted(cli.jobs("pending")) == ["one", "three"])


def test_the_dead_are_grouped_by_error(served: Dashboard, cli: Cli, open_page: Open) -> None:
    enqueue_dead(cli, "one", "two")
    cli.enqueue("--id", "seven", "--max-retries", "0", "exit 7")
    cli.drain()
    page = open_page(f"{served.url}/dlq")
    page.get_by_role("button", name="Group by error").click()
    expect(page.locator(".groups li")).to_have_count(2)
    page.locator(".groups").get_by_role("button", name="2 exit 1").click()
    expect(row(page, "seven")).to_have_count(0)
    assert shown(page) == ["two", "one"]


def test_a_job_is_enqueued_from_the_form(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page(served.url)
    page.get_by_role("button", name="Enqueue").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Command").fill("echo from the page")
    form.get_by_label("Id").fill("a b")
    page.allowed.append("422")
    form.get_by_role("button", name="Enqueue").click()
    expect(form.get_by_role("alert")).to_contain_text("regex")
    form.get_by_label("Id").fill("typed")
    form.get_by_label("Priority").select_option("9")
    form.get_by_role("button", name="Enqueue").click()
    expect(row(page, "typed")).to_be_visible()
    job = cli.job("typed")
    assert (job["command"], job["priority"]) == ("echo from the page", 9)


def test_a_delete_is_asked_about_first(served: Dashboard, cli: Cli, open_page: Open) -> None:
    enqueue_dead(cli, "one")
    page = open_page(f"{served.url}/dlq")
    row(page, "one").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert cli.state("one") == "dead"
    row(page, "one").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    wait_until(lambda: cli.state("one") is None)


def test_the_queue_is_paused_and_resumed(served: Dashboard, cli: Cli, open_page: Open) -> None:
    page = open_page(served.url)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert (cli.spool / "paused").exists()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert not (cli.spool / "paused").exists()


def test_a_read_only_page_offers_nothing_that_changes(cli: Cli, open_page: Open) -> None:
    enqueue_dead(cli, "one")
    with dashboard(cli, "--read-only") as served:
        page = open_page(served.url)
        expect(row(page, "one")).to_be_visible()
        expect(page.get_by_text("read-only")).to_be_visible()
        names = page.get_by_role("button").all_inner_texts()
        assert not [name for name in names if re.match("Retry|Cancel|Delete|Pause|Enqueue", name)]
        page.close()  # before its stream is cut off, which the console would tell


# The server.


def test_the_page_survives_the_servers_restart(cli: Cli, open_page: Open) -> None:
    with dashboard(cli) as served:
        page = open_page(served.url)
        page.allowed += ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET"]
        expect(page.locator(".link.live")).to_be_visible()
        served.stop()
        expect(page.get_by_text("reconnecting")).to_be_visible()
    cli.enqueue("--id", "meanwhile", "true")
    with dashboard(cli, port=served.port):
        expect(page.locator(".link.live")).to_be_visible()
        expect(row(page, "meanwhile")).to_be_visible()
        page.close()


def test_what_changed_while_the_server_was_away_is_shown(cli: Cli, browser: Any, open_page: Open) -> None:
    cli.enqueue("--id", "one", "true")
    with dashboard(cli) as served:
        page = open_page(served.url)
        page.allowed += ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET"]
        expect(page.locator(".link.live")).to_be_visible()
        expect(row(page, "one").locator(".badge")).to_have_text("pending")
        served.stop()
    cli.drain()  # as many directories hold jobs as before
    with dashboard(cli, port=served.port):
        expect(row(page, "one").locator(".badge")).to_have_text("completed")
        page.close()


def test_without_the_stream_the_page_asks_now_and_then(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("true")
    page = open_page("about:blank")
    page.allowed.append("ERR_FAILED")
    page.route("**/api/v1/events", lambda route: route.abort())
    page.goto(served.url)
    expect(page.get_by_text("polling")).to_be_visible()
    expect(card(page, "pending")).to_have_text("1")


def test_the_token_is_asked_for_and_let_in(cli: Cli, open_page: Open) -> None:
    with dashboard(cli, "--token") as served:
        page = open_page("about:blank")
        page.allowed.append("401")
        page.goto(served.url)
        page.get_by_label("Token").fill((cli.spool / "dashboard.token").read_text().strip())
        page.get_by_role("button", name="Open").click()
        expect(page.locator(".link.live")).to_be_visible()
        assert page.url == served.url
        page.goto("about:blank")


# For everyone.


def test_the_table_is_driven_by_keys(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue_all({"command": "true", "id": "one"}, {"command": "true", "id": "two"})
    page = open_page(served.url)
    expect(row(page, "one")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{served.url}/jobs/one")
    page.go_back()
    expect(row(page, "one")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("two")
    expect(page).to_have_url(f"{served.url}?q=two")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(served: Dashboard, cli: Cli, open_page: Open, scheme: str) -> None:
    enqueue_dead(cli, "a-job-with-quite-a-long-name-" + "x" * 60)
    for path in ("", "/dlq?by=error", "/workers", "/jobs/a-job-with-quite-a-long-name-" + "x" * 60):
        page = open_page(f"{served.url}{path}", viewport={"width": 375, "height": 700}, color_scheme=scheme)
        expect(page.locator(".link.live")).to_be_visible()
        expect(page.get_by_text("a-job-with").or_(page.get_by_text("No workers run")).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, path


def test_the_page_of_the_api_shows_and_tries_operations(served: Dashboard, cli: Cli, open_page: Open) -> None:
    cli.enqueue("--id", "one", "true")
    page = open_page(f"{served.home}/docs")
    page.locator("#getCounts summary").click()
    page.locator("#getCounts").get_by_role("button", name="Try").click()
    expect(page.locator("#getCounts pre")).to_contain_text('"pending": 1')
