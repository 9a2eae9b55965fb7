from __future__ import annotations

import json
import math
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queuectl import clock, job
from queuectl.errors import BadJobFile, UsageError
from queuectl.job import Attempt, Job, State

ARGUMENT = 131_072
few = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
WHOLE = {
    "command": ["printf", "%s\\n", "grün 🌱"],
    "id": "a.b-c_d",
    "priority": "high",
    "run_at": "2026-11-22T10:15:00.123Z",
    "timeout": "1.5h",
    "max_retries": 0,
    "backoff_base": 1.5,
    "cwd": "/tmp/ä b",
    "env": {"A": "1", "EMPTY": ""},
    "resources": {"cpus": 2, "mem": "4G", "share": 0.5},
    "meta": {"deep": [{"list": [1, -2.5e-3, None, True]}], "\u2028": "\n\0"},
}

plain_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)
ids = st.text("aZ09._-", min_size=1, max_size=12).map("a{}".format)
words = plain_text.filter(lambda text: text.strip() != "")
jobs = st.builds(
    Job,
    command=words | st.builds(lambda head, rest: [head, *rest], words, st.lists(plain_text, max_size=3)),
    id=ids,
    priority=st.integers(0, 9),
    run_at=st.none() | st.integers(0, 253402300799999).map(clock.iso),
    timeout=st.none() | st.floats(0, clock.MAX_DURATION_S),
    max_retries=st.none() | st.integers(0, 10**9),
    backoff_base=st.none() | st.floats(0, 1e9),
    cwd=st.none() | plain_text.map(lambda text: f"/{text}"),
    env=st.none()
    | st.dictionaries(plain_text.filter(lambda name: name != "" and "=" not in name), plain_text, max_size=3),
    meta=st.none() | st.dictionaries(any_text, values, max_size=3),
    state=st.sampled_from(State),
    attempts=st.integers(0, 10**9),
    history=st.lists(
        st.builds(Attempt, attempt=st.integers(0, 10**9), worker=any_text, started_at=any_text, finished_at=any_text),
        max_size=2,
    ),
)


def spelt(**fields: Any) -> bytes:
    return json.dumps({"command": "true", **fields}).encode()


def parsed(data: bytes) -> Job | BadJobFile:
    try:
        return job.parse(data)
    except BadJobFile as error:
        return error


def reason(data: bytes) -> BadJobFile:
    with pytest.raises(BadJobFile) as caught:
        job.parse(data)
    return caught.value


@few
@given(jobs)
def test_a_job_reads_back_as_it_was_written(made: Job) -> None:
    assert job.parse(job.encode(made)) == made


def test_a_job_file_is_one_line() -> None:
    data = job.encode(Job(id="a", command="printf 'a\nb'", meta={"text": "\u2028\n"}))
    assert data.count(b"\n") == 1
    assert data.endswith(b"}\n")


def test_every_key_of_a_producer_is_read() -> None:
    found = job.parse(json.dumps(WHOLE).encode())
    assert {key: getattr(found, key) for key in job.PRODUCER_KEYS} == {**WHOLE, "priority": 9, "timeout": 5400.0}


def test_a_command_alone_is_a_job() -> None:
    assert job.parse(b'{"command": "true"}') == Job(command="true")


def test_a_command_is_a_shell_line_or_a_program_with_its_arguments() -> None:
    assert (job.parse(b'{"command":"true"}').shell, job.parse(b'{"command":["true"]}').shell) == (True, False)


@pytest.mark.parametrize("blank", [b" ", b"\n\t\r ", b"\n"])
def test_blanks_around_a_job_mean_nothing(blank: bytes) -> None:
    assert job.parse(blank + b'{ "command" :\n"true" }' + blank) == Job(command="true")


# Half-written files.


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(WHOLE).encode(),
        json.dumps(WHOLE, ensure_ascii=False, indent=2).encode(),
        b'  {"id": "a", "command": "\\u00e4\\ud83c\\udf31"}',
        b'{"unknown": [1, 2], "max_retries": -1, "command": 12}',
        b'{"meta": {"a": 12.5e3, "b": true, "c": null}, "command": "x"}',
    ],
)
def test_no_part_of_a_half_written_job_is_taken_for_whole(data: bytes) -> None:
    for length in range(len(data)):
        error = reason(data[:length])
        assert not error.whole, (data[:length], str(error))


@few
@given(jobs, st.integers(0))
def test_no_beginning_of_a_job_is_a_job(made: Job, cut: int) -> None:
    data = job.encode(made).rstrip(b"\n")
    assert not reason(data[: cut % len(data)]).whole


@pytest.mark.parametrize("data", [b"", b" ", b"\n\n"])
def test_a_file_that_is_still_empty_is_not_whole(data: bytes) -> None:
    error = reason(data)
    assert (str(error), error.whole) == ("empty", False)


# Bytes that are no job.


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"null", "expected object, got null"),
        (b"[]", "expected object, got array"),
        (b'["command"]', "expected object, got array"),
        (b'"true"', "expected object, got str"),
        (b"12", "expected object, got int"),
        (b"{}", "object missing required field command"),
        (b'{"id": "a"}', "object missing required field command"),
        (b'{"command": null}', "expected str | array, got null in command"),
        (b'{"command": 1}', "expected str | array, got int in command"),
        (b'{"command": {}}', "expected str | array, got object in command"),
        (b'{"command": ["a", 1]}', "expected str, got int in command[1]"),
        (b'{"command": ""}', "command is empty"),
        (b'{"command": " \\t\\n"}', "command is empty"),
        (b'{"command": []}', "command is empty"),
        (b'{"command": ["", "a"]}', "command is empty"),
        (spelt(id=1), "expected str, got int in id"),
        (spelt(id=""), "expected str of length >= 1 in id"),
        (spelt(id="a/b"), "id 'a/b' must be 1 to 100 of A-Z a-z 0-9 . _ - and begin with a letter or digit"),
        (spelt(id=".."), "id '..' must be"),
        (spelt(id="../../etc/passwd"), "id '../../etc/passwd' must be"),
        (spelt(id="a" * 101), "must be 1 to 100"),
        (spelt(id="a\n"), "id 'a\\n' must be"),
        (spelt(id="ä"), "id 'ä' must be"),
        (spelt(priority=10), "priority 10 must be 0 to 9, or high, medium, low"),
        (spelt(priority=-1), "priority -1 must be"),
        (spelt(priority="urgent"), "priority 'urgent' must be"),
        (spelt(priority="²"), "priority '²' must be"),
        (spelt(priority=5.5), "expected int | str, got float in priority"),
        (spelt(priority=True), "expected int | str, got bool in priority"),
        (spelt(max_retries=-1), "expected int >= 0 in max_retries"),
        (spelt(max_retries=1.5), "expected int | null, got float in max_retries"),
        (spelt(max_retries="3"), "expected int | null, got str in max_retries"),
        (spelt(max_retries=True), "expected int | null, got bool in max_retries"),
        (spelt(max_retries=10**10), "expected int <= 1000000000 in max_retries"),
        (spelt(backoff_base=-2), "expected float >= 0.0 in backoff_base"),
        (spelt(backoff_base="2"), "expected float | null, got str in backoff_base"),
        (spelt(timeout=-1), "timeout: '-1.0' is not a duration"),
        (spelt(timeout="soon"), "timeout: 'soon' is not a duration"),
        (spelt(timeout=1e300), "timeout: '1e+300' is longer than a hundred years"),
        (spelt(run_at="later"), "run_at: 'later' is not a time"),
        (spelt(run_at=1700000000), "expected str | null, got int in run_at"),
        (spelt(run_at="2026-13-45T25:61:61.000Z"), "run_at: '2026-13-45T25:61:61.000Z' is not a time"),
        (spelt(run_at="2026-02-31T10:15:00.000Z"), "run_at: '2026-02-31T10:15:00.000Z' is not a time"),
        (spelt(due_at="never"), "due_at: 'never' is not a time"),
        (spelt(updated_at="2026-99-01T10:15:00.000Z"), "updated_at: '2026-99-01T10:15:00.000Z' is not a time"),
        (spelt(cwd="here"), "cwd 'here' must be an absolute path"),
        (spelt(cwd=""), "cwd '' must be an absolute path"),
        (spelt(env=["A=1"]), "expected object | null, got array in env"),
        (spelt(env={"A": 1}), "expected str, got int in env[...]"),
        (spelt(env={"A=B": "1"}), "env: 'A=B' is not a variable's name"),
        (spelt(env={"": "1"}), "env: '' is not a variable's name"),
        (spelt(meta=[]), "expected object | null, got array in meta"),
        (spelt(state="running"), "invalid enum value 'running' in state"),
        (spelt(attempts=-1), "expected int >= 0 in attempts"),
        (spelt(history={}), "expected array, got object in history"),
        (spelt(history=[{"attempt": 1}]), "object missing required field worker in history[0]"),
        (spelt(command="a\0b"), "command holds a NUL character"),
        (spelt(command=["a", "b\0"]), "command holds a NUL character"),
        (spelt(cwd="/a\0"), "cwd holds a NUL character"),
        (spelt(env={"A": "\0"}), "env A holds a NUL character"),
    ],
)
def test_what_is_wrong_with_whole_bytes_is_said_in_one_line(data: bytes, why: str) -> None:
    error = reason(data)
    assert why in str(error)
    assert "\n" not in str(error)
    assert error.whole


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("priorty", "unknown key 'priorty', did you mean 'priority'?"),
        ("comand", "unknown key 'comand', did you mean 'command'?"),
        ("max-retries", "unknown key 'max-retries', did you mean 'max_retries'?"),
        ("retries", "unknown key 'retries', did you mean 'max_retries'?"),
        ("zzz", "unknown key 'zzz'"),
        ("", "unknown key ''"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(key: str, hint: str) -> None:
    error = reason(spelt(**{key: 1}))
    assert (str(error), error.whole) == (hint, True)


@pytest.mark.parametrize(
    "field", ["priority", "max_retries", "timeout", "backoff_base", "attempts", "rev", "exit_code"]
)
@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_of_five_thousand_digits_is_refused(field: str, sign: str) -> None:
    data = f'{{"command": "true", "{field}": {sign}{"9" * 5000}}}'.encode()
    assert field in str(reason(data))


def test_an_integer_of_five_thousand_digits_is_refused_in_meta_too() -> None:
    assert "out of range" in str(reason(b'{"command": "true", "meta": {"a": [' + b"9" * 5000 + b"]}}"))


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e999999"])
@pytest.mark.parametrize("field", ['"timeout": ', '"backoff_base": ', '"meta": {"a": '])
def test_a_number_that_no_float_can_hold_is_refused(field: str, number: str) -> None:
    data = f'{{"command": "true", {field}{number}{"}" * field.count("{")}}}'
    assert "number out of range" in str(reason(data.encode()))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "nan", "undefined", "True", "0x10", "01", "+1", "1."])
def test_a_value_that_json_does_not_know_is_refused(word: str) -> None:
    assert "not JSON" in str(reason(f'{{"command": "true", "timeout": {word}}}'.encode()))


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\ud800x", "\\ud800\\ud800", "\\udfff\\ud800"])
@pytest.mark.parametrize(
    "form",
    [
        '{"command": "%s      "}',
        '{"command": ["a", "%s      "]}',
        '{"command": "true", "cwd": "/%s      "}',
        '{"command": "true", "env": {"A": "%s      "}}',
        '{"command": "true", "env": {"%s      ": "A"}}',
        '{"command": "true", "meta": {"a": "%s      "}}',
        '{"command": "true", "meta": {"%s      ": 1}}',
        '{"command": "true", "last_error": "%s      "}',
    ],
)
def test_a_lone_surrogate_is_refused_wherever_it_stands(form: str, escape: str) -> None:
    assert "surrogate" in str(reason((form % escape).encode()))


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + spelt(),
        spelt().decode().encode("utf-16"),
        spelt().decode().encode("utf-16-le"),
        spelt().decode().encode("utf-32"),
        b'{"command": "gr\xfcn"}',
        b'{"command": "\xed\xa0\x80"}',
        b'{"command": "\xc0\x80"}',
        b'{"command": "\xf5\x80\x80\x80"}',
        b'{"\xff": 1, "command": "true"}',
        b'{"command": "true", "meta": {"a": "\xff"}}',
        b'{"command": "true", "meta": {"\xff": 1}}',
        b"\xff\xfe\xfd",
        b"\0",
        bytes(range(256)),
    ],
)
def test_bytes_that_are_not_utf_8_are_refused(data: bytes) -> None:
    assert str(reason(data)).startswith(("not UTF-8", "not JSON"))


@pytest.mark.parametrize(
    "data",
    [
        b"#!/bin/sh\necho hello\n",
        b"{'command': 'true'}",
        b'{"command": "true",}',
        b'{"command": "true"} // a comment',
        b'{"command": "true"}{"command": "true"}',
        b'{"command": "true"}]',
        b'{"command": "a\tb"}',
        b'{"command": "a\nb"}',
        b'{"command": "\\x41"}',
        b'{command: "true"}',
        b"command = true",
        b'{"command": "true"}\0',
        b'\0{"command": "true"}',
    ],
)
def test_what_only_looks_like_json_is_refused(data: bytes) -> None:
    assert str(reason(data)).startswith("not JSON")


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_two_hundred_thousand_nested_brackets_are_refused(bracket: str, closed: bool) -> None:
    end = ("]" if bracket == "[" else "}") * 200_000 if closed else ""
    inner = bracket * 200_000 + ("1" if closed else "") + end
    assert "nested too deeply" in str(reason(f'{{"command": "true", "meta": {{"a": {inner}'.encode()))


def test_nested_brackets_alone_are_no_job() -> None:
    assert reason(b"[" * 200_000)


@pytest.mark.parametrize("depth", range(800, 1100, 20))
def test_what_is_nested_deeply_is_refused_or_can_be_written_again(depth: int) -> None:
    found = parsed(b'{"command":"true","meta":{"a":' + b"[" * depth + b"]" * depth + b"}}")
    if isinstance(found, Job):
        assert job.encode(found).count(b"[") == depth + 1
    else:
        assert "nested too deeply" in str(found)


# The longest that a program can be given.


@pytest.mark.parametrize(
    "form",
    [
        lambda text: {"command": text},
        lambda text: {"command": [text]},
        lambda text: {"command": ["true", text]},
        lambda text: {"cwd": "/" + text[1:]},
        lambda text: {"env": {"A": text[2:]}},
        lambda text: {"env": {text[1:]: ""}},
    ],
    ids=["line", "program", "argument", "cwd", "value", "name"],
)
@pytest.mark.parametrize("letter", ["x", "ä"])
def test_a_text_of_128_kib_is_refused_and_one_byte_less_is_not(form: Any, letter: str) -> None:
    size = (ARGUMENT - 2) // len(letter.encode()) * len(letter.encode())
    longest = "x" * (ARGUMENT - 1 - size) + letter * (size // len(letter.encode()))
    assert len(longest.encode()) == ARGUMENT - 1
    assert job.parse(spelt(**form(longest)))
    assert "is longer than the 128 KiB" in str(reason(spelt(**form("x" + longest))))


def test_a_program_can_really_be_given_the_longest_text_and_no_longer() -> None:
    assert subprocess.run(["true", "x" * (job.MAX_ARGUMENT_BYTES - 1)]).returncode == 0
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["true", "x" * job.MAX_ARGUMENT_BYTES])


# Keys that stand twice.


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b'{"command": "a", "command": "b"}', "command"),
        (b'{"command": "a", "meta": {"x": {"y": 1, "y": 2}}}', "y"),
        (b'{"command": "a", "meta": {"x": [{"y": 1, "\\u0079": 2}]}}', "y"),
        (b'{"command": "a", "env": {"A": "1", "A": "1"}}', "A"),
    ],
)
def test_a_key_that_stands_twice_is_found(data: bytes, key: str) -> None:
    assert job.repeated_key(data) == key


def test_a_producer_may_not_write_a_key_twice() -> None:
    with pytest.raises(BadJobFile, match="key 'command' stands twice"):
        job.parse_new(b'{"command": "a", "command": "b"}')
    assert job.parse_new(b'{"command": "a"}') == Job(command="a")


def test_the_same_key_in_different_objects_is_no_repetition() -> None:
    assert job.repeated_key(b'{"command": "a", "meta": {"command": {"command": 1}, "b": [{"c": 1}, {"c": 2}]}}') is None


@few
@given(jobs)
def test_whatever_is_a_job_can_be_searched_for_repeated_keys(made: Job) -> None:
    assert job.repeated_key(job.encode(made)) is None


def test_the_search_for_repeated_keys_refuses_what_is_nested_too_deeply_for_it() -> None:
    with pytest.raises(BadJobFile, match="nested too deeply"):
        job.repeated_key(b"[" * 100_000)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(Job.__struct_fields__), values, max_size=3))
def test_any_json_object_is_refused_or_can_be_written_again(fields: dict[str, Any]) -> None:
    data = json.dumps({"command": "true", **fields}).encode()
    found = parsed(data)
    if isinstance(found, Job):
        found.id = found.id or "given"
        assert job.parse(job.encode(found)) == found
    else:
        assert found.whole


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda raw: b'{"command":"' + raw + b'"}'))
def test_any_bytes_are_a_job_or_a_bad_job_file(data: bytes) -> None:
    found = parsed(data)
    assert found.command if isinstance(found, Job) else "\n" not in str(found)


# What is made by programs.


@pytest.mark.parametrize(
    "meta",
    [{"a": object()}, {"a": "\ud800"}, {"a": 10**5000}, {"a": {("x", "y"): 1}}],
    ids=["object", "surrogate", "5000 digits", "tuple as key"],
)
def test_a_meta_that_json_cannot_hold_is_a_usage_error(meta: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="meta cannot be written as JSON"):
        job.encode(Job(command="true", meta=meta))


def test_a_meta_that_is_nested_endlessly_is_a_usage_error() -> None:
    meta: dict[str, Any] = {}
    meta["again"] = meta
    with pytest.raises(UsageError, match="meta cannot be written as JSON"):
        job.encode(Job(command="true", meta=meta))


@pytest.mark.parametrize(
    ("field", "value"),
    [("command", "\ud800"), ("cwd", "/\udcff"), ("env", {"A": "\udcff"}), ("env", {"\udcff": "1"})],
)
def test_a_lone_surrogate_from_a_program_is_a_usage_error(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match="holds a lone surrogate"):
        job.check(Job(**{"command": "true", field: value}))


@pytest.mark.parametrize("timeout", [math.nan, math.inf, -1.0, "-1", "x"])
def test_a_timeout_from_a_program_must_be_a_duration(timeout: float | str) -> None:
    with pytest.raises(UsageError, match="timeout: "):
        job.check(Job(command="true", timeout=timeout))


@pytest.mark.parametrize(
    ("word", "level"),
    [("high", 9), ("medium", 5), ("low", 1), ("HIGH", 9), ("7", 7), ("07", 7), (0, 0), (9, 9)],
)
def test_a_priority_is_a_word_or_a_digit(word: str | int, level: int) -> None:
    assert job.parse_priority(word) == level


@pytest.mark.parametrize("word", ["", " ", "10", "-1", "1.0", "highest", 10, -1])
def test_no_other_priority_is_taken(word: str | int) -> None:
    with pytest.raises(UsageError, match="must be 0 to 9, or high, medium, low"):
        job.parse_priority(word)


def test_checking_puts_words_into_numbers() -> None:
    made = Job(command="true", priority="low", timeout="2m")
    job.check(made)
    assert (made.priority, made.level, made.timeout, made.timeout_s) == (1, 1, 120.0, 120.0)


def test_a_timeout_that_is_not_given_stays_open() -> None:
    assert Job(command="true").timeout_s is None


@pytest.mark.parametrize(("levels", "refused"), [(job.MAX_DEPTH, False), (job.MAX_DEPTH + 1, True)])
def test_meta_is_nested_no_deeper_than_every_reader_can_follow(levels: int, refused: bool) -> None:
    data = b'{"command": "x", "meta": ' + b'{"a":' * levels + b"1" + b"}" * (levels + 1)
    if refused:
        with pytest.raises(BadJobFile, match="nested too deeply, more than 200 levels"):
            job.parse(data)
    else:
        assert job.parse(data).meta is not None
