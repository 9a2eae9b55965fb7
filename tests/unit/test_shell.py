from __future__ import annotations

import os
import shutil
import string
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from queuectl import shell

SHELLS = ("/bin/sh", "dash", "bash", "ksh", "mksh", "zsh", "busybox")
PLAIN = string.ascii_letters + string.digits + "_@%+=:,./-"

blanks = st.text(" \t", min_size=1, max_size=3)
arguments = st.lists(st.tuples(blanks, st.text(PLAIN, min_size=1, max_size=12)), max_size=4)
tails = arguments.flatmap(lambda parts: st.just("".join(blank + word for blank, word in parts)))

Run = Callable[[str, str], list[str]]


@pytest.fixture(scope="session", params=SHELLS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Give a line to one shell, where a program of a given name prints its arguments; return what it printed."""
    found = shutil.which(request.param)
    if found is None:
        pytest.skip(f"no {request.param} here")
    interpreter = [found, "sh"] if request.param == "busybox" else [found]
    place = tmp_path_factory.mktemp("programs")
    printer = place / ".printer"
    printer.write_text('#!/bin/sh\nprintf \'%s\\0\' "${0##*/}" "$@"\n')
    printer.chmod(0o755)

    def run_line(name: str, line: str) -> list[str]:
        program = place / name
        if not program.exists():
            os.link(printer, program)
        environment = {"PATH": str(place), "HOME": str(place)}
        done = subprocess.run(
            [*interpreter, "-c", "--", line], env=environment, cwd=place, capture_output=True, stdin=subprocess.DEVNULL
        )
        return done.stdout.decode().split("\0")[:-1]

    return run_line


@settings(max_examples=40)
@given(st.text(" \t", max_size=2), tails, st.text(" \t", max_size=2))
@example("", " a=b --c=d:e,f@g%h+i ./j ../k", "")
@example("", " if then do : . = == 2 -", "")
def test_the_shell_splits_a_plain_line_into_the_same_words(run: Run, before: str, tail: str, after: str) -> None:
    line = f"{before}show-words{tail}{after}"
    assert shell.words(line) == run("show-words", line)


@settings(max_examples=60)
@given(st.text(PLAIN.replace("/", ""), min_size=1, max_size=6) | st.sampled_from(sorted(shell._SHELL_WORDS)), tails)
@example("-", " a")
@example("%1", "")
@example("@", " x")
@example("a:b", "")
@example("+x", "")
@example(",", "")
@example("-x", "")
@example("1", " 2")
def test_the_shell_runs_the_program_that_a_plain_line_names(run: Run, name: str, tail: str) -> None:
    found = shell.words(name + tail)
    assume(found is not None and name not in (".", "..", ".printer"))
    assert found == run(name, name + tail)


@pytest.mark.parametrize("command", ["true; exit 7", "exit 7", "return 7", "echo", "kill -l", "cd /", "umask 077"])
def test_a_builtin_goes_to_the_shell(command: str) -> None:
    assert shell.words(command) is None


def test_every_builtin_and_reserved_word_of_bash_goes_to_the_shell() -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    done = subprocess.run(["bash", "-c", "compgen -b; compgen -k"], capture_output=True, text=True, check=True)
    names = set(done.stdout.split())
    assert len(names) > 50
    assert {name for name in names if shell.words(f"{name} x") is not None} == set()


def test_every_utility_that_posix_lets_a_shell_build_in_goes_to_the_shell() -> None:
    special = "break : continue . eval exec exit export readonly return set shift times trap unset"
    searched_first = (
        "alias bg cd command false fc fg getopts hash jobs kill newgrp pwd read true type ulimit umask unalias wait"
    )
    reserved = "! { } case do done elif else esac fi for if in then until while"
    for name in f"{special} {searched_first} {reserved}".split():
        assert shell.words(f"{name} x") is None, name


@pytest.mark.parametrize(
    "line",
    [
        *("", " ", "\t", "echo 'a'", 'prog "a"', "prog \\a", "prog $HOME", "prog ${A}", "prog `date`", "prog $(date)"),
        *("prog *", "prog a?", "prog [ab]", "[ a = b ]", "prog ~", "~/prog", "prog {a,b}", "{ prog; }", "(prog)"),
        *("prog; other", "prog & other", "prog &", "a | b", "a || b", "a && b", "! prog", "prog !$"),
        *("prog > out", "prog >> out", "prog < in", "prog 2>&1", "prog << X", "<in prog", "prog #comment", "#comment"),
        *("A=1 prog", "A=1", "=x", "a+=1", "prog\nother", "prog\n", "\nprog", "prog\rother", "prog\x0bother"),
        *("prog ä", "prög", "prog\u00a0x", "prog ٣", "prog\0x", "prog ^x", "prog\x1b"),
        *(". ./file", ": x", "if x", "while x", "time prog", "exec prog", "command prog", "source x", "export A"),
    ],
)
def test_what_may_mean_more_than_words_goes_to_the_shell(line: str) -> None:
    assert shell.words(line) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prog", ["prog"]),
        ("  prog\ta  b ", ["prog", "a", "b"]),
        ("./prog -x --y=1 a=b", ["./prog", "-x", "--y=1", "a=b"]),
        ("/usr/bin/echo hello", ["/usr/bin/echo", "hello"]),
        ("sha256sum data/file-1.bin", ["sha256sum", "data/file-1.bin"]),
        ("prog if . : true", ["prog", "if", ".", ":", "true"]),
        ("user@host:a,b +5 100%", ["user@host:a,b", "+5", "100%"]),
    ],
)
def test_words_and_blanks_need_no_shell(line: str, words: list[str]) -> None:
    assert shell.words(line) == words


def test_the_shell_is_the_one_of_posix() -> None:
    assert Path(shell.SHELL).resolve().exists()
    assert shell.SHELL == "/bin/sh"
