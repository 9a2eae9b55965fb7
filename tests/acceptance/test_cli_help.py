"""--version, --help on every verb, and completion in the shells."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import Cli, command, environment, new_cli
from screen import Screen

# Every verb, with words that its help must hold.
VERBS = {
    "": "Exit codes:",
    "enqueue": "--command -f --file --lines --id --priority --run-at --delay --max-retries --backoff-base --timeout "
    "--cwd -e --env --meta --wait -q --quiet --json",
    "worker": "start stop list",
    "worker start": "--count --detach --drain --for",
    "worker stop": "--now",
    "worker list": "--json",
    "start": "--count --drain --for",
    "status": "--json --watch",
    "list": "--state --limit --json --wide",
    "show": "--json",
    "logs": "show",
    "logs show": "-f --follow --attempt",
    "dlq": "list retry",
    "dlq list": "--json",
    "dlq retry": "--all",
    "retry": "queuectl retry",
    "cancel": "queuectl cancel",
    "rm": "queuectl rm",
    "wait": "--timeout",
    "pause": "queuectl pause",
    "resume": "queuectl resume",
    "init": "queuectl init",
    "config": "show get set unset",
    "config show": "--key --value",
    "config get": "queuectl config get",
    "config set": "queuectl config set",
    "config unset": "queuectl config unset",
    "purge": "--completed --dead --rejected --older-than --dry-run",
    "doctor": "--repair",
    "completion": "bash zsh fish",
}


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_shows_its_options_an_example_and_touches_nothing(tmp_path: Path, verb: str) -> None:
    cli = Cli(tmp_path / "spool", tmp_path)
    out = cli.ok(*verb.split(), "--help", spool=False)
    assert out.startswith(f"Usage: queuectl {verb}".rstrip())
    assert [word for word in VERBS[verb].split() if word not in out] == []
    assert out.count("queuectl ") > 1
    assert {"--spool", "--help"} <= set(out.split())
    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_verb(tmp_path: Path) -> None:
    out = Cli(tmp_path, tmp_path).ok("--help", spool=False)
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ") and line.split()}
    assert {verb for verb in VERBS if verb and " " not in verb} - {"start"} <= listed


def test_no_words_at_all_show_the_help_as_a_mistake(tmp_path: Path) -> None:
    done = Cli(tmp_path, tmp_path).run(spool=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: queuectl ")


def test_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    assert Cli(tmp_path, tmp_path).ok("--version", spool=False) == f"queuectl {version('queuectl')}\n"


# Completion.


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool with jobs whose ids can be completed."""
    cli = new_cli(tmp_path_factory.mktemp("completion"))
    cli.enqueue_all(*({"command": "true", "id": id, "run_at": "+1h"} for id in ("alpha-1", "alpha-2", "beta")))
    return cli


def with_path(cli: Cli) -> dict[str, str]:
    """Return the environment of a shell that finds queuectl by its name, and this spool."""
    script = command()[0]
    if Path(script).name != "queuectl":
        pytest.skip("queuectl is not installed as a command")
    path = f"{Path(script).parent}{os.pathsep}{os.environ['PATH']}"
    return environment({"PATH": path, "QUEUECTL_SPOOL": str(cli.spool)})


BASH = """
eval "$(queuectl completion bash)"
complete -p queuectl > /dev/null
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
_queuectl_completion queuectl
printf '%s\\n' "${COMPREPLY[@]}"
"""


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(queuectl completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -D -u; eval "$(queuectl completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "queuectl completion fish | source"),
}


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("queuectl wo", ["worker"]),
        ("queuectl re", ["retry", "resume"]),
        ("queuectl worker st", ["start", "stop"]),
        ("queuectl enqueue --max", ["--max-retries"]),
        ("queuectl list --state d", ["dead"]),
        ("queuectl show alp", ["alpha-1", "alpha-2"]),
        ("queuectl rm beta alpha-2 al", ["alpha-1", "alpha-2"]),
        ("queuectl logs be", ["beta"]),
        ("queuectl dlq retry --a", ["--all"]),
        ("queuectl completion f", ["fish"]),
        ("queuectl show nobody", [""]),
    ],
)
def test_bash_is_offered_what_fits(shared: Cli, typed: str, offered: list[str]) -> None:
    words = ["bash", "--norc", "-ec", BASH, "bash", *typed.split()]
    done = subprocess.run(words, cwd=shared.cwd, env=with_path(shared), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == offered


@pytest.mark.parametrize("name", SHELLS)
def test_the_tab_key_completes_an_id_in_an_interactive_shell(shared: Cli, name: str) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    words, load = SHELLS[name]
    env = {**with_path(shared), "PS1": "> ", "INPUTRC": "/dev/null", "HOME": str(shared.cwd)}
    with Screen(words, shared.cwd, env=env) as shell:
        shell.type(f'{load}; echo load""ed\r')
        shell.wait_for("loaded\n")
        shell.type("queuectl show be\t")
        shell.wait_for("beta")
        shell.type("| head -n 1\r")
        shell.wait_for("id\tbeta\n")
        shell.type("exit\r")
        shell.finish()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_asks_queuectl_in_that_shells_form(shared: Cli, shell: str) -> None:
    assert f"_QUEUECTL_COMPLETE={shell}_complete" in shared.ok("completion", shell)


@pytest.mark.parametrize(
    ("shell", "words", "offered"),
    [
        ("zsh", {"COMP_WORDS": "queuectl show be", "COMP_CWORD": "2"}, "plain\nbeta\n_"),
        ("fish", {"COMP_WORDS": "queuectl show be", "COMP_CWORD": "be"}, "beta"),
    ],
)
def test_the_other_shells_are_answered_in_their_own_form(
    shared: Cli, shell: str, words: dict[str, str], offered: str
) -> None:
    env = {**words, "_QUEUECTL_COMPLETE": f"{shell}_complete", "QUEUECTL_SPOOL": str(shared.spool)}
    assert offered in shared.run(env=env, spool=False).stdout
