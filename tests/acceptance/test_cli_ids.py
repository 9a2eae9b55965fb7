"""Ids on the command line: by unique prefix, by several, from stdin; ambiguous and unknown ones."""

from __future__ import annotations

import subprocess

import pytest
from helpers import Cli, command, environment, new_cli

IDS = ("alpha-1", "alpha-2", "beta", "beta-long", "gamma-only")


def waiting(*ids: str) -> list[dict[str, str]]:
    return [{"command": "true", "id": id, "run_at": "2099-01-01T00:00:00Z"} for id in ids]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool with jobs of these ids, which tests only look at."""
    cli = new_cli(tmp_path_factory.mktemp("ids"))
    cli.enqueue_all(*waiting(*IDS))
    return cli


@pytest.mark.parametrize("prefix", ["g", "gamma", "gamma-only"])
def test_any_unique_prefix_means_the_job(shared: Cli, prefix: str) -> None:
    assert shared.json("show", prefix)["id"] == "gamma-only"


def test_a_whole_id_wins_over_ids_that_begin_with_it(shared: Cli) -> None:
    assert shared.json("show", "beta")["id"] == "beta"


@pytest.mark.parametrize(
    "args",
    [["show"], ["logs"], ["logs", "show"], ["cancel"], ["retry"], ["rm"], ["dlq", "retry"], ["wait"]],
    ids=" ".join,
)
def test_an_ambiguous_prefix_lists_the_candidates_and_exits_4(shared: Cli, args: list[str]) -> None:
    done = shared.run(*args, "al")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "error: al: several jobs begin with this\nhint: one of: alpha-1 alpha-2\n"
    assert len(shared.jobs("pending")) == len(IDS)


@pytest.mark.parametrize(
    "args",
    [["show"], ["logs"], ["logs", "-f"], ["cancel"], ["retry"], ["rm"], ["dlq", "retry"], ["wait"]],
    ids=" ".join,
)
def test_an_unknown_id_exits_3(shared: Cli, args: list[str]) -> None:
    done = shared.run(*args, "nobody")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: nobody: no such job\nhint: queuectl list shows all jobs\n"


@pytest.mark.parametrize("strange", ["../config", "*", "alpha-1/", "ALPHA-1", "a\nb", "\x1b[31m", "é", "-- "])
def test_an_id_that_no_job_can_have_is_not_found(shared: Cli, strange: str) -> None:
    done = shared.run("show", "--", strange)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 2
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    "args", [["show"], ["logs"], ["cancel"], ["retry"], ["rm"], ["dlq", "retry"], ["wait"]], ids=" ".join
)
def test_an_empty_id_is_refused_and_means_no_job(cli: Cli, args: list[str]) -> None:
    cli.enqueue_all(*waiting("only"))
    done = cli.run(*args, "")
    assert (done.returncode, done.stderr) == (2, "error: an id is empty\n")
    assert list(cli.jobs("pending")) == ["only"]


def test_several_ids_are_taken_one_after_another_and_each_error_is_told(cli: Cli) -> None:
    cli.enqueue_all(*waiting("alpha-1", "alpha-2", "beta", "gamma"))
    done = cli.run("rm", "be", "al", "nobody", "g")
    assert (done.returncode, done.stdout) == (4, "Removed beta\nRemoved gamma\n")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: al: several jobs begin with this", "error: nobody: no such job"]
    assert sorted(cli.jobs("pending")) == ["alpha-1", "alpha-2"]


def test_a_dash_reads_the_first_field_of_each_line_of_stdin(cli: Cli) -> None:
    cli.enqueue_all(*waiting("alpha-1", "alpha-2", "beta", "gamma"))
    out = cli.ok("rm", "-", "gamma", stdin="alpha-1\tpending\t5\n\n  alpha-2 and more\n")
    assert out == "Removed alpha-1\nRemoved alpha-2\nRemoved gamma\n"
    assert list(cli.jobs("pending")) == ["beta"]


def test_a_dash_and_an_empty_stdin_change_nothing(shared: Cli) -> None:
    assert shared.ok("rm", "-", stdin="") == ""
    assert shared.ok("wait", "-", stdin="\n") == ""
    assert sorted(shared.jobs("pending")) == sorted(IDS)


def test_a_dash_stands_for_one_id_where_one_is_wanted(shared: Cli) -> None:
    assert shared.json("show", "-", stdin="gam\n")["id"] == "gamma-only"
    done = shared.run("show", "-", stdin="beta\ngamma-only\n")
    assert (done.returncode, done.stderr) == (2, "error: one id is wanted, stdin holds 2\n")


def test_ids_flow_through_a_pipeline_of_commands(cli: Cli) -> None:
    pipeline = """
        seq 3 | sed 's/.*/echo & ; exit &/' | "$0" enqueue -q --max-retries 0 --lines -f - > ids
        "$0" worker start --drain > /dev/null
        "$0" dlq list | grep 'exit 2$' | "$0" retry - > retried
        "$0" dlq list | "$0" rm - | wc -l
    """
    done = subprocess.run(
        ["sh", "-euc", pipeline, *command()],
        cwd=cli.cwd,
        env=environment({"QUEUECTL_SPOOL": str(cli.spool)}),
        capture_output=True,
        text=True,
    )
    second = (cli.cwd / "ids").read_text().split()[1]
    assert (done.returncode, done.stdout.strip()) == (0, "2")
    assert (cli.cwd / "retried").read_text() == f"Retrying {second}\n"
    assert cli.counts() == {"pending": 1, "processing": 0, "completed": 0, "failed": 0, "dead": 0}
