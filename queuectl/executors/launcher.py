"""Commands through a launcher: the words of a prefix, such as `srun -n1 -c{cpus}`, before each command.

The launcher is an ordinary child of the worker: its output, its exit code and its lock are those of the job. A signal
for the command goes through a program of the launcher's own (`scancel -s {signal} -n {id}`), since the command may be
elsewhere. `{id}` and the names of resources are filled in; `{command}` is the whole command as one line for a remote
shell, with its directory and its own variables, and without it the command's words follow the prefix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

import msgspec

from queuectl import clock, shell
from queuectl.executors import CannotStart, Exit, Order, Unavailable
from queuectl.executors.local import LocalExecution, LocalExecutor, find

HELP_S = 10.0  # how long a program that signals or asks may take
LEAVE_S = 2.0  # how long the launcher itself may take to see that its command has been killed
_name = re.compile(r"\{([A-Za-z][A-Za-z0-9._-]*)\}")


class LauncherExecutor:
    """Starts commands through a prefix; `signal` and `host` are commands of the launcher's, or empty.

    `resources` are the amounts for jobs that do not ask for their own, `environment` what a command has anyway. Raises
    `Unavailable` when there is no such launcher.
    """

    def __init__(
        self,
        prefix: str,
        *,
        signal: str,
        host: str,
        resources: Mapping[str, float | str],
        environment: Mapping[str, str],
    ) -> None:
        import shlex

        self._prefix, self._signal, self._host = (shlex.split(text) for text in (prefix, signal, host))
        self._for_shell = any("{command}" in word for word in self._prefix)
        self._resources, self._environment = resources, environment
        self._local = LocalExecutor()
        if not self._prefix:
            raise Unavailable("no launcher is set (queuectl config set launcher 'srun -n1 …')")
        for words in (self._prefix, self._signal, self._host):
            try:
                if words and not _name.search(words[0]):
                    find(words[0], environment.get("PATH", os.defpath))
            except CannotStart as error:
                raise Unavailable(f"the launcher cannot be used: {error}") from None

    def start(self, order: Order) -> LauncherExecution:
        """Start a command; see `Executor.start`."""
        known = {**self._resources, **order.resources, "id": order.id}
        argv = order.command if isinstance(order.command, list) else shell.line(order.command)
        if self._for_shell:
            prefix = _fill_all(self._prefix, {**known, "command": self._remote_line(argv, order)})
            order = msgspec.structs.replace(order, cwd=None)  # which is a directory elsewhere
        else:
            prefix = [*_fill_all(self._prefix, known), *argv]
        signal = {name: _fill_all(self._signal, {**known, "signal": name}) for name in ("TERM", "KILL")}
        return LauncherExecution(self._local, prefix, order, signal, _fill_all(self._host, known))

    def _remote_line(self, argv: Sequence[str], order: Order) -> str:
        """Spell a command for a shell elsewhere, which knows neither our directory nor our variables."""
        import shlex

        own = [f"{key}={value}" for key, value in order.env.items() if self._environment.get(key) != value]
        words = ["exec", *(["env", *own] if own else []), *argv]
        enter = f"cd {shlex.quote(order.cwd)} && " if order.cwd else ""
        return enter + shlex.join(words)


class LauncherExecution(LocalExecution):
    """A launcher that runs, and a command somewhere behind it."""

    def __init__(
        self, local: LocalExecutor, argv: list[str], order: Order, signal: Mapping[str, list[str]], host: list[str]
    ) -> None:
        super().__init__(local.spawn(argv, order))
        self._local, self._order = local, order
        self._signal_by, self._host_by = signal, host
        self._named: Exit | None = None

    def wait(self, timeout: float | None, interrupts: Sequence[int]) -> Exit | None:
        """Wait for the launcher; see `Execution.wait`."""
        end = super().wait(timeout, interrupts)
        if end and self._named is None:
            self._named = Exit(end.code, end.signal, host=self._ask_host())
        return self._named

    def terminate(self) -> None:
        """Let the launcher's own program pass SIGTERM on, or send it to the launcher."""
        if not self._tell("TERM"):
            super().terminate()

    def kill(self) -> None:
        """Let the launcher's own program kill the command; then end the launcher."""
        if self._exit is None and self._tell("KILL"):
            super().terminate()  # one that still waits for a place gives it up
            super().wait(LEAVE_S, ())
        super().kill()

    def _tell(self, name: str) -> bool:
        argv = self._signal_by[name]
        if not argv:
            return False
        end = self._ended(argv, self._order.log)
        return end == Exit(0, None)

    def _ask_host(self) -> str | None:
        """Ask where the command has run; None when nobody can say."""
        if not self._host_by:
            return None
        read, write = os.pipe()
        try:
            self._ended(self._host_by, write)
            os.set_blocking(read, False)
            said = os.read(read, 4096).decode("utf-8", "replace").split()
        except BlockingIOError:
            said = []
        finally:
            os.close(read)
            os.close(write)
        return said[-1] if said and said[-1].isprintable() else None

    def _ended(self, argv: list[str], out: int) -> Exit | None:
        """Run a program of the launcher's to its end; what it complains of stands in the job's log."""
        try:
            helper = self._local.help(argv, self._order.env, out, self._order.log)
        except CannotStart:
            return None
        deadline = clock.monotonic() + HELP_S
        end = None
        while end is None and clock.monotonic() < deadline:
            end = helper.wait(deadline - clock.monotonic(), ())
        helper.kill()
        return end or helper.wait(None, ())


def _fill(word: str, known: Mapping[str, float | str]) -> str:
    def amount(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise CannotStart(f"the launcher wants {found[0]}, which neither the job nor the configuration gives")
        return str(known[found[1]])

    return _name.sub(amount, word)


def _fill_all(words: Sequence[str], known: Mapping[str, float | str]) -> list[str]:
    return [_fill(word, known) for word in words]
