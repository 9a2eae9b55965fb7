from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl import config
from queuectl.config import KEYS, Config
from queuectl.errors import UsageError

VALID: dict[str, st.SearchStrategy[Any]] = {
    "max_retries": st.integers(0, 1_000_000),
    "backoff_base": st.floats(0, 1e9),
    "backoff_max": st.floats(0, 3e9),
    "backoff_jitter": st.floats(0, 1),
    "job_timeout_sec": st.floats(0, 3e9),
    "kill_grace_sec": st.floats(0, 86400),
    "worker_count": st.integers(1, 1024),
    "log_level": st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR"]),
    "durability": st.sampled_from(["full", "relaxed"]),
    "keep_completed": st.floats(0, 3e9),
    "max_job_bytes": st.integers(64, 2**30),
    "max_log_bytes": st.integers(0, 2**50),
    "max_pending": st.integers(0, 10**9),
    "min_free_bytes": st.integers(0, 2**50),
    "poll_interval_sec": st.floats(0.1, 3600),
    "executor": st.sampled_from(["local", "launcher", "dask"]),
    "launcher": st.sampled_from(["", "srun -n1 -c{cpus}", "a 'b c' \"d\\\\e\" f\\ g", "ä {id}"]),
    "launcher_signal": st.sampled_from(["", "scancel -s {signal} -n {id}"]),
    "launcher_host": st.sampled_from(["", "squeue -o %N"]),
    "dask_scheduler": st.sampled_from(["local", "tcp://host:8786", "/a b/scheduler.json"]),
    "dask_wait_sec": st.floats(0.1, 86400),
    "resources": st.sampled_from(["", "cpus=1", "cpus=2 mem=4G share=0.5 zone=eu-1"]),
}
settings_made = st.sampled_from(KEYS).flatmap(lambda key: st.tuples(st.just(key), VALID[key]))


def test_the_defaults_are_those_of_the_manual() -> None:
    assert config.load("", {}) == Config(
        max_retries=3,
        backoff_base=2.0,
        backoff_max=3600.0,
        backoff_jitter=0.0,
        job_timeout_sec=0.0,
        kill_grace_sec=10.0,
        worker_count=1,
        log_level="INFO",
        durability="full",
        keep_completed=None,
        max_job_bytes=1_048_576,
        max_log_bytes=0,
        max_pending=0,
        min_free_bytes=0,
        poll_interval_sec=5.0,
        executor="local",
        launcher="",
        launcher_signal="",
        launcher_host="",
        dask_scheduler="local",
        dask_wait_sec=60.0,
        resources="cpus=1 mem=1G gpus=0",
    )


def test_the_file_goes_before_the_defaults() -> None:
    assert config.load("max_retries = 7", {}).max_retries == 7


def test_the_environment_goes_before_the_file() -> None:
    assert config.load("max_retries = 7", {"QUEUECTL_MAX_RETRIES": "8"}).max_retries == 8


def test_flags_go_before_the_environment() -> None:
    assert config.load("max_retries = 7", {"QUEUECTL_MAX_RETRIES": "8"}, max_retries=9).max_retries == 9


def test_a_flag_that_is_not_given_changes_nothing() -> None:
    assert config.load("max_retries = 7", {}, max_retries=None).max_retries == 7


def test_what_one_source_leaves_open_comes_from_the_next() -> None:
    found = config.load("max_retries = 7\nbackoff_base = 3", {"QUEUECTL_BACKOFF_BASE": "4"}, worker_count=5)
    assert (found.max_retries, found.backoff_base, found.worker_count, found.log_level) == (7, 4.0, 5, "INFO")


def test_the_process_has_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUECTL_WORKER_COUNT", "6")
    assert config.load("").worker_count == 6


@pytest.mark.parametrize("name", KEYS)
def test_every_key_can_be_set_by_the_environment(name: str) -> None:
    words = {"log_level": "ERROR", "durability": "relaxed", "executor": "dask", "resources": "cpus=2"}
    value = words.get(name, "1")
    value = "64" if name == "max_job_bytes" else value
    default = getattr(Config(), name)
    found = getattr(config.load("", {f"QUEUECTL_{name.upper()}": value}), name)
    assert str(found) in (value, f"{value}.0")
    assert found != default or name == "worker_count"


@pytest.mark.parametrize("name", ["QUEUECTL_SPOOL", "QUEUECTL_JOB_ID", "QUEUECTL_NOTHING", "MAX_RETRIES"])
def test_other_variables_are_passed_over(name: str) -> None:
    assert config.load("", {name: "nonsense"}) == Config()


@pytest.mark.parametrize(
    ("spelling", "key"),
    [
        ("max_retries", "max_retries"),
        ("max-retries", "max_retries"),
        (" Max-Retries ", "max_retries"),
        ("worker-count", "worker_count"),
        ("base_backoff", "backoff_base"),
        ("base-backoff", "backoff_base"),
    ],
)
def test_a_key_may_be_spelt_with_either_dash_and_by_its_other_name(spelling: str, key: str) -> None:
    assert config.key(spelling) == key


def test_the_file_takes_the_same_spellings() -> None:
    assert config.parse('base-backoff = 3\n"worker-count" = 2') == {"backoff_base": 3.0, "worker_count": 2}


@pytest.mark.parametrize("spelling", ["max_retry", "retries", "", "max retries"])
def test_an_unknown_key_is_refused_and_the_known_ones_are_named(spelling: str) -> None:
    with pytest.raises(UsageError, match="unknown key") as caught:
        config.key(spelling)
    assert caught.value.hint == "keys: " + " ".join(KEYS)


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match="unknown key 'max_retry', did you mean 'max_retries'"):
        config.key("max_retry")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_retries", "0", 0),
        ("max_retries", " 5 ", 5),
        ("max_retries", "1000000", 1_000_000),
        ("backoff_base", "1.5", 1.5),
        ("backoff_base", "0", 0.0),
        ("backoff_max", "1h", 3600.0),
        ("backoff_jitter", "1", 1.0),
        ("job_timeout_sec", "0", 0.0),
        ("job_timeout_sec", "2h30m", 9000.0),
        ("kill_grace_sec", "24h", 86400.0),
        ("worker_count", "1024", 1024),
        ("log_level", "debug", "DEBUG"),
        ("durability", "Relaxed", "relaxed"),
        ("keep_completed", "7d", 604_800.0),
        ("keep_completed", "none", None),
        ("keep_completed", "forever", None),
        ("max_job_bytes", "64", 64),
        ("max_job_bytes", "2 MiB", 2_097_152),
        ("max_job_bytes", "64k", 65_536),
        ("max_job_bytes", "1G", 2**30),
        ("max_log_bytes", "0", 0),
        ("max_log_bytes", "100 MiB", 104_857_600),
        ("min_free_bytes", "2T", 2**41),
        ("min_free_bytes", str(2**50), 2**50),
        ("max_pending", "0", 0),
        ("poll_interval_sec", "100ms", 0.1),
    ],
)
def test_a_value_is_read_as_people_write_it(name: str, text: str, value: Any) -> None:
    found = config.read_value(name, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("max_retries", "-1", "must be 0 to 1000000"),
        ("max_retries", "1000001", "must be 0 to 1000000"),
        ("max_retries", "3.0", "must be a whole number, 0 to 1000000"),
        ("max_retries", "many", "must be a whole number"),
        ("max_retries", "9" * 5000, "must be a whole number"),
        ("max_retries", True, "must be a whole number"),
        ("max_retries", "٣", "must be a whole number"),
        ("backoff_base", "-1", "must be a number, 0 to 1e+09"),
        ("backoff_base", "nan", "must be a number"),
        ("backoff_base", "inf", "must be a number"),
        ("backoff_base", [], "must be a number"),
        ("backoff_base", True, "must be a number"),
        ("backoff_max", "-1", "is not a duration"),
        ("backoff_max", "200y", "is not a duration"),
        ("backoff_max", "99999999d", "longer than a hundred years"),
        ("backoff_jitter", "1.1", "must be a number, 0 to 1"),
        ("job_timeout_sec", "soon", "is not a duration"),
        ("job_timeout_sec", True, "must be a duration such as 90, 90s or 1.5h"),
        ("job_timeout_sec", [5], "must be a duration"),
        ("kill_grace_sec", "25h", "must be 0 to 86400 seconds"),
        ("worker_count", "0", "must be 1 to 1024"),
        ("worker_count", "1025", "must be 1 to 1024"),
        ("log_level", "LOUD", "must be one of DEBUG, INFO, WARNING, ERROR"),
        ("durability", "some", "must be one of full, relaxed"),
        ("keep_completed", "-1d", "is not a duration"),
        ("max_job_bytes", "63", "must be a size from 64 bytes to 1 GiB"),
        ("max_job_bytes", "2G", "must be a size"),
        ("max_job_bytes", "1.5M", "must be a size"),
        ("max_job_bytes", True, "must be a size"),
        ("max_log_bytes", "-1", "must be a size from 0 (no limit)"),
        ("max_log_bytes", "none", "must be a size from 0 (no limit)"),
        ("min_free_bytes", "10%", "must be a size from 0 (no limit)"),
        ("max_pending", "-1", "must be 0 to 1000000000"),
        ("poll_interval_sec", "0", "must be 0.1 to 3600 seconds"),
        ("poll_interval_sec", "2h", "must be 0.1 to 3600 seconds"),
    ],
)
def test_a_bad_value_is_refused_with_the_key_and_its_range(name: str, value: Any, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.read_value(name, value)
    assert str(caught.value).startswith(f"{name} = ")
    assert why in str(caught.value)


def test_a_bad_value_in_the_environment_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="worker_count = 'x'"):
        config.load("", {"QUEUECTL_WORKER_COUNT": "x"})


@pytest.mark.parametrize(
    "text",
    ["max_retries", "max_retries = ", "= 3", "[max_retries]", "max_retries = 3\nmax_retries = 4", "a = [" * 9999],
)
def test_a_file_that_is_not_toml_or_not_ours_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"^config\.toml: "):
        config.parse(text)


@pytest.mark.parametrize("text", ["max_retries = -1", "max_retry = 3", "log_level = 5", "worker_count = 2.5"])
def test_a_bad_line_in_the_file_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"^config\.toml: ") as caught:
        config.parse(text)
    assert text.split(" ")[0] in str(caught.value)


@pytest.mark.parametrize("text", ["", " \n\t\n", "# nothing yet\n"])
def test_a_file_without_settings_sets_nothing(text: str) -> None:
    assert config.parse(text) == {}


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(AttributeError):
        Config().max_retries = 4  # type: ignore[misc]


# Editing the file.

FILE = """\
# How this queue retries.
max_retries = 3  # enough for the network

# The base.
base-backoff = 2
log_level = "INFO"
"""


def test_setting_a_key_changes_its_line_and_no_other() -> None:
    assert config.edit(FILE, "log_level", "ERROR") == FILE.replace('"INFO"', '"ERROR"')


def test_setting_a_key_keeps_the_comment_behind_it() -> None:
    assert config.edit(FILE, "max_retries", 5) == FILE.replace("= 3  #", "= 5  #")


def test_setting_a_new_key_adds_a_line_at_the_end() -> None:
    assert config.edit(FILE, "worker_count", 4) == FILE + "worker_count = 4\n"


def test_setting_a_key_that_stands_under_its_other_name_replaces_it() -> None:
    assert config.edit(FILE, "backoff_base", 3.0) == FILE.replace("base-backoff = 2", "backoff_base = 3.0")


def test_setting_a_key_in_quotes_replaces_it() -> None:
    assert config.edit("\"max_retries\" = 3\n'worker-count' = 2\n", "max_retries", 4) == (
        "max_retries = 4\n'worker-count' = 2\n"
    )


def test_setting_a_key_that_stands_twice_leaves_it_once() -> None:
    assert config.edit("max_retries = 1\nmax-retries = 2\n", "max_retries", 4) == "max_retries = 4\n"


def test_taking_a_key_out_takes_its_line_and_no_other() -> None:
    assert config.edit(FILE, "log_level", None) == FILE.replace('log_level = "INFO"\n', "")


def test_taking_out_a_key_that_is_not_there_changes_nothing() -> None:
    assert config.edit(FILE, "worker_count", None) == FILE


def test_setting_a_key_mends_a_line_that_cannot_be_read() -> None:
    assert config.parse(config.edit("max_retries = = 3\n", "max_retries", 4)) == {"max_retries": 4}


def test_a_hash_in_quotes_begins_no_comment() -> None:
    assert config.edit('log_level = "IN#FO" # loud\n', "log_level", "INFO") == 'log_level = "INFO" # loud\n'


def test_a_file_without_a_line_end_gets_one() -> None:
    assert config.edit("max_retries = 3", "worker_count", 2) == "max_retries = 3\nworker_count = 2\n"


@given(st.lists(settings_made, max_size=6), settings_made)
def test_what_is_set_is_what_is_read(before: list[tuple[str, Any]], last: tuple[str, Any]) -> None:
    text = "# begin\n"
    for name, value in [*before, last]:
        text = config.edit(text, name, config.read_value(name, value))
    assert config.parse(text) == {**dict(before), last[0]: last[1]}
    assert text.startswith("# begin\n")
