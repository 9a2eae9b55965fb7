"""The rules of docs/architecture.md, held against the source itself."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import queuectl

ROOT = Path(queuectl.__file__).parent
TABLE = ROOT.parent / "docs" / "architecture.md"
STARTERS = {"__init__", "__main__"}  # the package's own names and `python -m queuectl`
DOORS = {"cli", "api"}
SHORTCUT = "api/__main__"  # `python -m queuectl.api` is a command line

# What the rules, the nouns and the ground below them may ask of the operating system.
PURE = {
    "names": set(),
    "retry": set(),
    "schedule": set(),
    "shell": set(),
    "errors": {"PathLike", "fspath"},
    "job": set(),
    "clock": set(),
    "ids": {"urandom"},
    "config": set(),
}


@cache
def sources() -> dict[str, ast.Module]:
    """Return each module's syntax tree by its name in the table: `queue`, `executors/local`, `cli/jobs`."""
    found = {}
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__")
        found[name] = ast.parse(path.read_text("utf-8"), str(path))
    return found


def core() -> dict[str, ast.Module]:
    """Return the modules below the doors."""
    return {name: tree for name, tree in sources().items() if layer_name(name) not in {*DOORS, *STARTERS}}


def door(name: str) -> dict[str, ast.Module]:
    """Return the modules of one door."""
    return {module: tree for module, tree in sources().items() if layer_name(module) == name and module != SHORTCUT}


def layer_name(module: str) -> str:
    first = module.split("/")[0]
    return first if first in DOORS else module


@cache
def levels() -> dict[str, int]:
    """Return each module's line in the table of layers, the lowest line 0."""
    if not TABLE.exists():
        pytest.skip("the table of layers comes with the sources only")
    block = TABLE.read_text("utf-8").split("### Modules", 1)[1].split("```", 2)[1]
    lines = [re.split(r" {3,}", line[10:])[0].split() for line in block.splitlines() if line.strip()]
    found: dict[str, int] = {}
    for level, names in enumerate(reversed(lines)):
        for name in names:
            assert name not in found, f"{name} stands twice in the table of layers"
            found[name.rstrip("/")] = level
    return found


def imports(tree: ast.Module) -> set[str]:
    """Return the full names of all that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def own_imports(tree: ast.Module) -> set[str]:
    """Return the modules of this package that a module imports."""
    found = set()
    for full in imports(tree):
        package, _, rest = full.partition(".")
        if package == "queuectl" and rest:
            parts = rest.split(".")
            while parts and "/".join(parts) not in sources():
                parts.pop()
            if parts:
                found.add("/".join(parts))
    return found


def importers(package: str) -> set[str]:
    """Return the modules that import a package of others."""
    return {name for name, tree in sources().items() if any(full.split(".")[0] == package for full in imports(tree))}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call in a module with the dotted name of what is called, `.name` for a method of an expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else f".{node.attr}"
    return ""


def users(is_meant: Callable[[str], bool]) -> set[str]:
    """Return the modules that name something, called or not, by its dotted name."""
    return {
        name
        for name, tree in sources().items()
        if any(isinstance(node, ast.Attribute | ast.Name) and is_meant(dotted(node)) for node in ast.walk(tree))
    }


def of_os(*names: str) -> Callable[[str], bool]:
    wanted = {f"os.{name}" for name in names}
    return lambda name: name in wanted


# Layers.


def test_every_module_stands_in_the_table_of_layers() -> None:
    assert {layer_name(name) for name in sources()} - STARTERS == set(levels())


def test_imports_point_downward_and_never_along_a_line() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, tree in core().items()
        for other in sorted(own_imports(tree))
        if levels()[layer_name(other)] >= levels()[name]
    ]
    assert wrong == []


def test_the_command_line_knows_no_more_of_the_core_than_the_queue_and_what_its_words_mean() -> None:
    allowed = {"queue", "supervisor", "config", "clock", "job", "variables", "errors"}
    wrong = {
        f"{name} imports {other}"
        for name, tree in door("cli").items()
        for other in own_imports(tree) - allowed
        if layer_name(other) != "cli"
    }
    # The part of the queue that a plain enqueue needs; and the verb that opens the other door.
    assert wrong == {"cli/quick imports plain", "cli/dashboard imports api/server"}


def test_the_http_door_knows_no_more_of_the_core_than_the_queue_and_its_overview() -> None:
    allowed = {"queue", "overview", "clock", "job", "errors"}
    wrong = {
        f"{name} imports {other}"
        for name, tree in door("api").items()
        for other in own_imports(tree) - allowed
        if layer_name(other) != "api"
    }
    assert wrong == set()


def test_only_the_http_door_uses_the_packages_of_its_extra() -> None:
    for package in ("starlette", "uvicorn", "anyio"):
        assert {layer_name(name) for name in importers(package)} == {"api"}, package


def test_nothing_below_the_doors_imports_a_door() -> None:
    assert {
        name for name, tree in core().items() if any(layer_name(other) in DOORS for other in own_imports(tree))
    } == set()


@pytest.mark.parametrize("name", sorted(DOORS))
def test_the_modules_of_a_door_do_not_import_each_other_in_a_circle(name: str) -> None:
    left = {module: own_imports(tree) for module, tree in door(name).items()}
    left = {module: {other for other in others if other in left and other != module} for module, others in left.items()}
    while leaves := [module for module, others in left.items() if not others & left.keys()]:
        for leaf in leaves:
            del left[leaf]
    assert left == {}


# Rooms for what is dangerous.


def test_only_the_spool_and_its_tree_rename_link_or_unlink() -> None:
    moves = of_os("rename", "renames", "replace", "link", "symlink", "unlink", "remove", "rmdir", "removedirs")
    assert users(moves) == {"spool", "tree"}
    assert importers("shutil") | importers("tempfile") == set()


def test_no_path_is_renamed_or_unlinked_by_its_own_methods() -> None:
    wrong = [
        f"{name}:{call.lineno}"
        for name, tree in sources().items()
        for called, call in calls(tree)
        if (called.endswith((".rename", ".symlink_to", ".hardlink_to", ".rmdir")) and not called.startswith("os."))
        or (called.endswith(".unlink") and not called.startswith("os.") and not call.args)
    ]
    assert wrong == []


# These two run on other machines, where there is nothing of ours.
ON_NODES = {"executors/keeper", "executors/lend"}


def test_only_the_local_executor_starts_commands_and_signals_their_groups() -> None:
    starts = re.compile(r"os\.(posix_spawnp?|exec\w+|spawn\w+|system|popen|killpg)").fullmatch
    assert users(lambda name: starts(name) is not None) == {"executors/local", *ON_NODES}
    assert importers("subprocess") == {"executors/lend"}
    for package in ("multiprocessing", "pty", "asyncio", "concurrent"):
        assert importers(package) == set(), package


def test_processes_are_forked_in_few_places() -> None:
    assert users(of_os("fork", "forkpty")) == {"daemon", "executors/guard", "signals"}


def test_what_runs_on_a_node_needs_nothing_of_ours() -> None:
    for name in ON_NODES:
        assert own_imports(sources()[name]) == set()
        used = {full.split(".")[0] for full in imports(sources()[name])} - {"__future__"}
        assert used <= sys.stdlib_module_names


def test_only_the_dask_executor_uses_dask() -> None:
    for package in ("distributed", "dask", "cloudpickle"):
        assert importers(package) <= {"executors/dask"}, package


def test_only_the_registry_signals_processes_by_their_pid() -> None:
    assert users(of_os("kill")) == {"registry"}


def test_signals_are_handled_where_processes_begin_or_have_their_main_loop() -> None:
    assert users(lambda name: name == "signal.signal") == {"signals"}


def test_only_the_clock_asks_for_the_time() -> None:
    assert importers("time") | importers("datetime") | importers("calendar") == {"clock", "executors/keeper"}


def test_one_module_reads_the_environment() -> None:
    assert users(of_os("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")) == {"variables"}


def test_only_the_watch_uses_watchdog() -> None:
    assert importers("watchdog") == {"wakeup"}


def test_only_the_disk_takes_locks() -> None:
    assert importers("portalocker") | importers("fcntl") == {"disk"}


def test_a_lock_is_given_back_by_closing_it_and_by_nothing_else() -> None:
    names = {dotted(node) for tree in sources().values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not {
        name for name in names if re.search(r"portalocker\.(Lock|RLock|unlock|TemporaryFileLock)|LOCK_UN", name)
    }


def test_only_the_command_line_uses_click_prints_and_exits() -> None:
    assert {layer_name(name) for name in importers("click")} == {"cli"}
    assert {layer_name(name) for name in users(lambda name: name == "print")} == {"cli"}
    assert users(lambda name: name == "sys.exit") <= {"cli/__main__", SHORTCUT, "__main__", "executors/keeper"}


def test_only_the_retry_rule_computes_a_power() -> None:
    found = {
        name
        for name, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Pow)
        and not (isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant))
    }
    assert found == {"retry"}


def test_what_is_slow_to_import_is_imported_when_it_is_needed() -> None:
    slow = {"watchdog", "portalocker", "ctypes", "tomllib", "datetime", "difflib", "shlex", "json"}
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in sources().items()
        if name not in {"executors/keeper", "executors/connection"}  # which are imported with dask alone
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(full.split(".")[0] in slow for full in imports(ast.Module([node], [])))
    ]
    assert wrong == []


# What a module may not know.


@pytest.mark.parametrize("name", ["spool", "tree", "disk"])
def test_the_spool_asks_neither_for_the_time_nor_for_settings(name: str) -> None:
    tree = sources()[name]
    asked = {called for called, _ in calls(tree)} & {"clock.now", "clock.monotonic", "clock.sleep"}
    assert asked == set()
    assert own_imports(tree) <= {"clock", "disk", "errors", "job", "names", "tree"}


@pytest.mark.parametrize("name", sorted(name for name in sources() if name.split("/")[0] == "executors"))
def test_executors_know_nothing_of_jobs_retries_or_the_spool(name: str) -> None:
    known = {other for other in own_imports(sources()[name]) if other.split("/")[0] != "executors"}
    assert known <= {"clock", "shell"} | ({"config"} if name == "executors/choice" else set())


@pytest.mark.parametrize("name", sorted(PURE))
def test_rules_and_nouns_touch_no_file(name: str) -> None:
    tree = sources()[name]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert used <= PURE[name]
    assert "open" not in {called for called, _ in calls(tree)}
    assert not {full.split(".")[0] for full in imports(tree)} & {
        "pathlib",
        "io",
        "shutil",
        "tempfile",
        "glob",
        "socket",
    }


def test_nothing_is_logged_behind_the_backs_of_people() -> None:
    assert importers("logging") <= {"wakeup", "executors/dask"}  # which silence those of watchdog and distributed


# Exceptions.


def handlers() -> Iterator[tuple[str, ast.ExceptHandler]]:
    for name, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                yield name, node


def catches(handler: ast.ExceptHandler, kind: str) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(one, ast.Name) and one.id == kind for one in kinds)


def test_every_exception_is_caught_by_its_name_but_in_two_places_at_most() -> None:
    assert [name for name, handler in handlers() if handler.type is None] == []
    assert len([name for name, handler in handlers() if catches(handler, "Exception")]) <= 2


def test_whoever_catches_everything_passes_it_on_unless_a_process_ends_there() -> None:
    kept = [
        name
        for name, handler in handlers()
        if catches(handler, "BaseException") and not isinstance(handler.body[-1], ast.Raise)
    ]
    assert set(kept) <= {"crew", "daemon"}


# Texts.


@pytest.mark.parametrize("name", sorted(sources()))
def test_every_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(sources()[name])


def test_nothing_is_left_to_be_done() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert [path.name for path in ROOT.rglob("*.py") if marks.search(path.read_text("utf-8"))] == []
