"""`config`: every spelling of it, checked values, and settings that do what they say when jobs run."""

from __future__ import annotations

import pytest
from helpers import Cli, new_cli, wait_until

DEFAULTS = {
    "max_retries": "3",
    "backoff_base": "2",
    "backoff_max": "3600",
    "backoff_jitter": "0",
    "job_timeout_sec": "0",
    "kill_grace_sec": "10",
    "worker_count": "1",
    "log_level": "INFO",
    "durability": "full",
    "keep_completed": "none",
    "max_job_bytes": "1048576",
    "max_log_bytes": "0",
    "max_pending": "0",
    "min_free_bytes": "0",
    "poll_interval_sec": "5",
    "executor": "local",
    "launcher": "",
    "launcher_signal": "",
    "launcher_host": "",
    "dask_scheduler": "local",
    "dask_wait_sec": "60",
    "resources": "cpus=1 mem=1G gpus=0",
}
KEYS_HINT = "hint: keys: " + " ".join(DEFAULTS)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool whose settings no test changes."""
    return new_cli(tmp_path_factory.mktemp("untouched"))


@pytest.mark.parametrize("args", [["config"], ["config", "show"]], ids=" ".join)
def test_config_shows_every_key_with_its_default(untouched: Cli, args: list[str]) -> None:
    rows = [line.split("\t") for line in untouched.ok(*args).splitlines()]
    assert rows == [[key, value, "default"] for key, value in DEFAULTS.items()]


def test_config_show_says_where_each_value_comes_from(cli: Cli) -> None:
    cli.configure(max_retries=5, backoff_base=3)
    out = cli.ok("config", "show", env={"QUEUECTL_MAX_RETRIES": "7"}).splitlines()
    assert out[:3] == ["max_retries\t7\tenvironment", "backoff_base\t3\tconfig.toml", "backoff_max\t3600\tdefault"]


def test_config_as_json_is_one_object_of_all_keys(untouched: Cli) -> None:
    shown = untouched.json("config")
    assert list(shown) == list(DEFAULTS)
    assert (shown["max_retries"], shown["keep_completed"], shown["durability"]) == (3, None, "full")
    assert untouched.json("config", "get", "max-retries") == {"max_retries": 3}


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("max_retries", "5", "max_retries = 5"),
        ("max-retries", "0", "max_retries = 0"),
        ("backoff_base", "1.5", "backoff_base = 1.5"),
        ("base_backoff", "4", "backoff_base = 4"),
        ("base-backoff", "4", "backoff_base = 4"),
        ("backoff-max", "2h", "backoff_max = 7200"),
        ("backoff-jitter", "0.25", "backoff_jitter = 0.25"),
        ("job-timeout-sec", "1h30m", "job_timeout_sec = 5400"),
        ("kill_grace_sec", "3s", "kill_grace_sec = 3"),
        ("worker-count", "2", "worker_count = 2"),
        ("LOG_LEVEL", "debug", "log_level = DEBUG"),
        ("durability", "Relaxed", "durability = relaxed"),
        ("keep-completed", "7d", "keep_completed = 604800"),
        ("keep_completed", "none", "keep_completed = none"),
        ("max_job_bytes", "2 MiB", "max_job_bytes = 2097152"),
        ("poll-interval-sec", "500ms", "poll_interval_sec = 0.5"),
        ("executor", "DASK", "executor = dask"),
        ("launcher", "srun -n1 -J '{id}'", "launcher = srun -n1 -J '{id}'"),
        ("dask-wait-sec", "2m", "dask_wait_sec = 120"),
        ("resources", " cpus=2  mem=4G ", "resources = cpus=2  mem=4G"),
    ],
)
def test_config_set_takes_a_key_in_every_spelling_and_shows_what_it_understood(
    cli: Cli, key: str, value: str, line: str
) -> None:
    assert cli.ok("config", "set", key, value) == f"{line}\n"
    name, _, spelt = line.partition(" = ")
    assert cli.ok("config", "get", name) == f"{spelt}\n"


def test_the_option_key_reads_and_with_value_sets(cli: Cli) -> None:
    assert cli.ok("config", "--key", "max-retries") == "3\n"
    assert cli.ok("config", "--key", "max-retries", "--value", "8") == "max_retries = 8\n"
    assert cli.ok("config", "--key", "max_retries") == "8\n"


def test_config_unset_lets_the_default_hold_again(cli: Cli) -> None:
    cli.configure(max_retries=9, backoff_base=3)
    assert cli.ok("config", "unset", "max-retries") == "max_retries = 3\n"
    assert (cli.spool / "config.toml").read_text() == "backoff_base = 3\n"


def test_setting_a_key_keeps_the_other_lines_and_comments(cli: Cli) -> None:
    path = cli.spool / "config.toml"
    path.write_text('# ours\nmax-retries = 1  # old\n\nlog_level = "ERROR"\n')
    cli.ok("config", "set", "max_retries", "2")
    assert path.read_text() == '# ours\nmax_retries = 2  # old\n\nlog_level = "ERROR"\n'


def test_the_environment_that_wins_over_a_new_value_is_named(cli: Cli) -> None:
    done = cli.run("config", "set", "max_retries", "2", env={"QUEUECTL_MAX_RETRIES": "7"})
    assert (done.returncode, done.stdout) == (0, "max_retries = 2\n")
    assert done.stderr == "QUEUECTL_MAX_RETRIES in the environment wins over it here\n"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("max_retries", "-1", "must be 0 to 1000000"),
        ("max_retries", "many", "must be a whole number, 0 to 1000000"),
        ("max_retries", "9" * 5000, "must be a whole number"),
        ("backoff_base", "-0.1", "must be a number, 0 to 1e+09"),
        ("backoff_jitter", "1.01", "must be a number, 0 to 1"),
        ("backoff_max", "long", "'long' is not a duration"),
        ("job_timeout_sec", "inf", "'inf' is not a duration"),
        ("kill_grace_sec", "2d", "must be 0 to 86400 seconds"),
        ("worker_count", "0", "must be 1 to 1024"),
        ("log_level", "LOUD", "must be one of DEBUG, INFO, WARNING, ERROR"),
        ("durability", "some", "must be one of full, relaxed"),
        ("keep_completed", "-1", "'-1' is not a duration"),
        ("max_job_bytes", "1", "must be a size from 64 bytes to 1 GiB"),
        ("poll_interval_sec", "0", "must be 0.1 to 3600 seconds"),
        ("executor", "cloud", "must be one of local, launcher, dask"),
        ("launcher", "srun 'x", "cannot be split into words: no closing quotation"),
        ("launcher", "a\nb", "must be one line of visible characters"),
        ("resources", "cpus", "'cpus' must be NAME=AMOUNT, such as cpus=2"),
        ("resources", "1a=2", "resources: '1a' must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(untouched: Cli, key: str, value: str, reason: str) -> None:
    done = untouched.run("config", "set", key, value)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {key} = {value[:80]!r}: {reason}")
    assert not (untouched.spool / "config.toml").exists()


@pytest.mark.parametrize("args", [["get"], ["set"], ["unset"], ["--key"]], ids=" ".join)
def test_an_unknown_key_names_the_nearest_and_all_keys(untouched: Cli, args: list[str]) -> None:
    done = untouched.run("config", *args, "max-retires", *(["1"] if args == ["set"] else []))
    nearest = "error: unknown key 'max-retires', did you mean 'max_retries'?"
    assert (done.returncode, done.stderr) == (2, f"{nearest}\n{KEYS_HINT}\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max_retires = 1\n", "config.toml: unknown key 'max_retires', did you mean 'max_retries'?"),
        ("max_retries = -1\n", "config.toml: max_retries = '-1': must be 0 to 1000000"),
        ("max_retries = true\n", "config.toml: max_retries = 'True': must be a whole number"),
        ("max_retries: 1\n", "config.toml: "),
    ],
)
def test_a_mistake_in_the_file_is_named_by_whoever_reads_it(cli: Cli, text: str, reason: str) -> None:
    (cli.spool / "config.toml").write_text(text)
    for args in (["config"], ["worker", "start", "--drain"]):
        done = cli.run(*args)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {reason}")


def test_a_mistake_in_the_environment_names_the_key(untouched: Cli) -> None:
    done = untouched.run("config", env={"QUEUECTL_MAX_RETRIES": "lots"})
    assert done.returncode == 2
    assert done.stderr.startswith("error: max_retries = 'lots': must be a whole number")


# What the settings do.


@pytest.mark.parametrize(
    ("in_file", "environment", "of_job", "runs"),
    [
        ({}, {}, [], 4),
        ({"max_retries": 1}, {}, [], 2),
        ({"max_retries": 1}, {"QUEUECTL_MAX_RETRIES": "2"}, [], 3),
        ({"max_retries": 1}, {"QUEUECTL_MAX_RETRIES": "2"}, ["--max-retries", "0"], 1),
    ],
    ids=["default", "config.toml", "environment", "job"],
)
def test_a_job_has_as_many_runs_as_it_or_the_environment_or_the_file_or_the_default_says(
    cli: Cli, in_file: dict[str, int], environment: dict[str, str], of_job: list[str], runs: int
) -> None:
    cli.configure(backoff_base=0, **in_file)
    id = cli.enqueue("echo ran; exit 1", *of_job)
    cli.drain(env=environment)
    assert (cli.log(id), cli.state(id)) == (b"ran\n" * runs, "dead")


@pytest.mark.parametrize(
    ("in_file", "environment", "of_job", "wait"),
    [
        ({}, {}, [], "2 s"),
        ({"backoff_base": 0.5}, {}, [], "0.5 s"),
        ({"backoff_base": 9}, {"QUEUECTL_BACKOFF_BASE": "0.25"}, [], "0.25 s"),
        ({"backoff_base": 9}, {"QUEUECTL_BACKOFF_BASE": "9"}, ["--backoff-base", "0.125"], "0.12 s"),
        ({"backoff_base": 100, "backoff_max": 0.3}, {}, [], "0.3 s"),
    ],
    ids=["default", "config.toml", "environment", "job", "backoff_max"],
)
def test_a_retry_waits_as_long_as_the_job_or_the_environment_or_the_file_or_the_default_says(
    cli: Cli, in_file: dict[str, float], environment: dict[str, str], of_job: list[str], wait: str
) -> None:
    cli.configure(max_retries=1, **in_file)
    id = cli.enqueue("exit 7", *of_job)
    out = cli.drain(env=environment).stdout
    assert f"[Worker 1] Job {id} failed: exit 7 (attempt 1 of 2), retry in {wait}\n" in out


@pytest.mark.parametrize(("variable", "count"), [({}, 2), ({"QUEUECTL_WORKER_COUNT": "3"}, 3)])
def test_worker_count_is_the_number_of_workers_that_start(cli: Cli, variable: dict[str, str], count: int) -> None:
    cli.configure(worker_count=2)
    with cli.workers(env=variable):
        wait_until(lambda: len(cli.worker_pids()) == count)
        assert len(cli.json("worker", "list")) == count


def test_log_level_warning_leaves_only_failures_on_the_workers_terminal(cli: Cli) -> None:
    cli.configure(log_level="WARNING", max_retries=0)
    cli.enqueue_all({"command": "echo good"}, {"command": "echo bad; exit 3", "id": "bad"})
    assert cli.drain().stdout == "[Worker 1] Job bad is dead: exit 3 (attempt 1 of 1)\n"


def test_keep_completed_lets_workers_delete_older_completed_jobs(cli: Cli) -> None:
    cli.configure(keep_completed=0.1, poll_interval_sec=0.1, max_retries=0)
    cli.enqueue_all({"command": "true", "id": "good"}, {"command": "exit 1", "id": "bad"})
    with cli.workers():
        wait_until(lambda: cli.state("bad") == "dead" and cli.state("good") is None, 5, "the completed job to go")
        wait_until(lambda: not (cli.spool / "logs" / "good.log").exists(), 5)
    assert cli.state("bad") == "dead"


def test_a_setting_reaches_workers_that_run_already(cli: Cli) -> None:
    def settled() -> str | None:
        id = cli.enqueue("exit 1", "--backoff-base", "1000")
        wait_until(lambda: cli.state(id) in ("failed", "dead"))
        return cli.state(id)

    with cli.workers():
        cli.ok("config", "set", "max_retries", "0")
        wait_until(lambda: settled() == "dead")
