"""Where the command line finds its spool, and which commands may make one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Cli, environment

READING = [
    ["list"],
    ["show", "x"],
    ["logs", "x"],
    ["logs", "show", "x"],
    ["status"],
    ["dlq"],
    ["dlq", "list"],
    ["dlq", "retry", "--all"],
    ["retry", "x"],
    ["cancel", "x"],
    ["rm", "x"],
    ["wait"],
    ["pause"],
    ["resume"],
    ["config"],
    ["config", "show"],
    ["config", "get", "max_retries"],
    ["config", "--key", "max_retries"],
    ["config", "unset", "max_retries"],
    ["purge", "--completed"],
    ["doctor"],
    ["worker", "list"],
    ["worker", "stop"],
]
MAKING = [
    ["enqueue", "true"],
    ["config", "set", "max_retries", "5"],
    ["config", "--key", "max_retries", "--value", "5"],
    ["worker", "start", "--drain"],
    ["worker", "--drain"],
    ["start", "--drain"],
]


def words(args: list[str]) -> str:
    return " ".join(args)


def make_spool(path: Path) -> None:
    """Make a spool that holds one waiting job, named as the spool's parent directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Cli(path, path.parent).ok("init", str(path), spool=False)
    job = json.dumps({"command": "true", "run_at": "2099-01-01T00:00:00Z"})
    (path / "pending" / f"20990101T000000000Z.5.{path.parent.name}.json").write_text(job)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three spools: one upwards from `near/a/b`, one to be named by an option, one by the environment."""
    root = tmp_path_factory.mktemp("places")
    for name in ("near", "named", "variable"):
        make_spool(root / name / "spool")
    (root / "near" / "a" / "b" / "spool").mkdir(parents=True)  # without a marker: a directory like any other
    return root


@pytest.fixture
def bare(tmp_path: Path) -> Cli:
    """The command in a directory without a spool."""
    return Cli(tmp_path / "spool", tmp_path)


@pytest.mark.parametrize(
    ("args", "variable", "found"),
    [
        (["--spool", "{named}", "list"], False, "named"),
        (["list", "--spool", "{named}"], False, "named"),
        (["--spool={named}", "list"], False, "named"),
        (["list", "--spool={named}", "--limit", "1"], False, "named"),
        (["show", "--spool", "{named}", "na"], False, "named"),
        (["show", "na", "--spool", "../../../named/spool"], False, "named"),
        (["--spool", "{named}", "list"], True, "named"),
        (["list"], True, "variable"),
        (["list"], False, "near"),
    ],
)
def test_the_spool_is_the_option_then_the_variable_then_the_nearest_upwards(
    places: Path, args: list[str], variable: bool, found: str
) -> None:
    cli = Cli(places / "near" / "spool", places / "near" / "a" / "b")
    named, other = str(places / "named" / "spool"), str(places / "variable" / "spool")
    env = {"QUEUECTL_SPOOL": other} if variable else {}
    out = cli.ok(*(arg.format(named=named) for arg in args), env=env, spool=False)
    assert [name for name in ("near", "named", "variable") if f"{name}\t" in out or f"\t{name}\n" in out] == [found]


@pytest.mark.parametrize(
    "args", [["dlq", "--spool", "{}"], ["dlq", "--spool", "{}", "list"], ["dlq", "list", "--spool", "{}"]], ids=words
)
def test_verbs_of_two_words_take_the_option_at_any_place(places: Path, bare: Cli, args: list[str]) -> None:
    named = str(places / "named" / "spool")
    assert bare.ok(*(arg.format(named) for arg in args), spool=False) == ""


def test_the_option_given_last_wins(places: Path, bare: Cli) -> None:
    first, last = str(places / "variable" / "spool"), str(places / "named" / "spool")
    assert bare.ok("--spool", first, "list", "--spool", last, spool=False).startswith("named\t")


def test_enqueue_uses_the_nearest_spool_upwards_and_makes_no_other(bare: Cli) -> None:
    make_spool(bare.cwd / "spool")
    below = bare.cwd / "a" / "b"
    below.mkdir(parents=True)
    bare.ok("enqueue", "pwd", spool=False, cwd=below)
    assert len(bare.files("pending")) == 2
    assert list(below.iterdir()) == []


@pytest.mark.parametrize("args", READING, ids=words)
def test_a_command_that_only_reads_finds_no_spool_says_so_and_makes_none(bare: Cli, args: list[str]) -> None:
    done = bare.run(*args, spool=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"error: no spool: neither {bare.cwd} nor a directory above it has one\nhint: ")
    assert list(bare.cwd.iterdir()) == []


@pytest.mark.parametrize("args", MAKING, ids=words)
def test_enqueue_config_set_and_worker_start_make_the_default_spool(bare: Cli, args: list[str]) -> None:
    done = bare.run(*args, spool=False)
    assert done.returncode == 0
    assert f"made the spool {bare.spool}\n" in done.stderr
    assert json.loads((bare.spool / "queuectl.json").read_text())["format"] == 1
    assert stat.S_IMODE(bare.spool.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "args", [["enqueue", "true"], ["enqueue", "true", "-q"], ["worker", "start", "--drain"]], ids=words
)
@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_spool_that_was_named_is_never_made(bare: Cli, args: list[str], how: str) -> None:
    env = {"QUEUECTL_SPOOL": "elsewhere"} if how == "variable" else {}
    done = bare.run(*args, *(["--spool", "elsewhere"] if how == "option" else []), env=env, spool=False)
    assert done.returncode == 3
    path = bare.cwd / "elsewhere"
    assert done.stderr == f"error: {path}: no spool here (it has no queuectl.json)\nhint: queuectl init {path}\n"
    assert list(bare.cwd.iterdir()) == []


@pytest.mark.parametrize(
    "args",
    [["enqueue", "{bad"], ["enqueue", "true", "--priority", "11"], ["config", "set", "max_retries", "-1"]],
    ids=words,
)
def test_a_command_with_a_mistake_makes_no_spool(bare: Cli, args: list[str]) -> None:
    assert bare.run(*args, spool=False).returncode == 2
    assert list(bare.cwd.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "env", "made"),
    [
        (["init", "deep/er/queue"], {}, "deep/er/queue"),
        (["init"], {}, "spool"),
        (["--spool", "by-option", "init"], {}, "by-option"),
        (["init", "--spool", "by-option"], {}, "by-option"),
        (["init"], {"QUEUECTL_SPOOL": "by-variable"}, "by-variable"),
    ],
)
def test_init_makes_the_spool_that_it_names(bare: Cli, args: list[str], env: dict[str, str], made: str) -> None:
    assert bare.ok(*args, env=env, spool=False) == f"Made the spool {bare.cwd / made}\n"
    assert bare.ok("--spool", made, "list", spool=False) == ""


def test_init_leaves_a_spool_that_is_there_as_it_is(bare: Cli) -> None:
    make_spool(bare.spool)
    before = (bare.spool / "queuectl.json").read_bytes()
    assert bare.ok("init", spool=False) == f"Already a spool: {bare.spool}\n"
    assert (bare.spool / "queuectl.json").read_bytes() == before
    assert len(bare.files("pending")) == 1


@pytest.mark.parametrize("module", ["queuectl", "queuectl.cli"])
def test_python_dash_m_is_the_same_command(bare: Cli, module: str) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-P", "-m", module, *args]
        return subprocess.run(words, cwd=bare.cwd, env=environment(), capture_output=True, text=True)

    make_spool(bare.spool)
    assert run("list").stdout == bare.ok("list")
    failed, expected = run("show", "nobody"), bare.run("show", "nobody")
    assert (failed.returncode, failed.stderr) == (expected.returncode, expected.stderr) == (3, expected.stderr)
    helped = run("list", "--help")
    assert helped.stdout.startswith("Usage: queuectl list ")


@pytest.mark.parametrize("words", ["list", "enqueue true", "enqueue true --priority 3", "init"])
def test_a_deleted_current_directory_is_one_line_of_error(places: Path, bare: Cli, words: str) -> None:
    gone = bare.cwd / "gone"
    gone.mkdir()
    named = f"--spool {places}/named/spool" if words.startswith("enqueue") else ""
    script = f"rmdir {gone}; exec {sys.executable} -P -m queuectl {named} {words}"
    done = subprocess.run(["sh", "-c", script], cwd=gone, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "error: the current directory no longer exists\n")
    assert not gone.exists()


def test_a_directory_whose_name_is_no_text_is_named_as_the_reason(bare: Cli) -> None:
    make_spool(bare.spool)
    strange = bare.cwd / os.fsdecode(b"d\xff")
    strange.mkdir()
    for args in (["enqueue", "true"], ["enqueue", "true", "--priority", "3"]):
        done = bare.run(*args, cwd=strange)
        assert (done.returncode, done.stderr) == (
            2,
            "error: cwd holds a lone surrogate, which no program can be given\n",
        )
