"""Commands as children of this process: the only module that starts them, signals their groups and reads exit statuses.

A command leads its own session and process group, reads /dev/null, and inherits nothing but its job's lock and log.
It is started by posix_spawn(3), whose vfork keeps the cost from growing with the worker.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from collections.abc import Mapping, Sequence

from queuectl import clock, shell
from queuectl.executors import CannotStart, Exit, Order

# What python ignores and what the worker handles must be as the system has it in the command. All of them, since
# posix_spawn(3) in glibc asks for each of the others how it is handled.
_DEFAULTED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_FALLBACK_POLL_S = 0.02


class LocalExecution:
    """A child process and its group."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exit: Exit | None = None
        self._pidfd = _pidfd(pid)

    def wait(self, timeout: float | None, interrupts: Sequence[int]) -> Exit | None:
        """Wait for the command; see `Execution.wait`."""
        if self._exit is None:
            poll = select.poll()
            for fd in interrupts:
                poll.register(fd, select.POLLIN)
            if self._pidfd >= 0:
                poll.register(self._pidfd, select.POLLIN)
                poll.poll(_milliseconds(timeout))
            else:
                self._poll_without_pidfd(poll, timeout)
            self._reap()
        return self._exit

    def _poll_without_pidfd(self, poll: select.poll, timeout: float | None) -> None:
        deadline = None if timeout is None else clock.monotonic() + timeout
        while self._reap() is None and not poll.poll(_FALLBACK_POLL_S * 1000):
            if deadline is not None and clock.monotonic() >= deadline:
                return

    def _reap(self) -> Exit | None:
        if self._exit is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._exit = Exit(code, None) if code >= 0 else Exit(None, -code)
                if self._pidfd >= 0:
                    os.close(self._pidfd)
        return self._exit

    def terminate(self) -> None:
        """Send SIGTERM to the group, and SIGCONT so that a stopped one sees it."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL to the group."""
        self._signal(signal.SIGKILL)

    def group_alive(self) -> bool:
        """Say whether the group has members left."""
        return self._signal(0)

    def _signal(self, number: int) -> bool:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # a member that changed its user; it is there
        return True


class LocalExecutor:
    """Starts commands on this machine. Changes this process's directory, so it is for single-threaded workers."""

    def __init__(self) -> None:
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._home = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _keep_from_commands()

    def start(self, order: Order) -> LocalExecution:
        """Start a command; see `Executor.start`."""
        if isinstance(order.command, list):
            return LocalExecution(self.spawn(order.command, order))
        plain = shell.words(order.command)
        if plain is not None:
            try:
                return LocalExecution(self.spawn(plain, order))
            except CannotStart:
                pass  # the shell says it in the log, with the exit code that everybody knows
        return LocalExecution(self.spawn(shell.line(order.command), order))

    def spawn(self, argv: list[str], order: Order) -> int:
        """Start a program as an order wants it; returns its pid."""
        self._enter(order.cwd)
        return _spawn(
            argv,
            order.env,
            [
                (os.POSIX_SPAWN_DUP2, self._null, 0),
                (os.POSIX_SPAWN_DUP2, order.log, 1),
                (os.POSIX_SPAWN_DUP2, order.log, 2),
                (os.POSIX_SPAWN_DUP2, order.lock, order.lock),  # onto itself: inherited from here on
            ],
        )

    def help(self, argv: list[str], env: Mapping[str, str], out: int, log: int) -> LocalExecution:
        """Start a program that has to do with a job and is not its command: it does not hold the job's lock."""
        self._enter(None)
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in ((self._null, 0), (out, 1), (log, 2))]
        return LocalExecution(_spawn(argv, env, actions))

    def _enter(self, cwd: str | None) -> None:
        try:
            if cwd is None:
                os.fchdir(self._home)
            else:
                os.chdir(cwd)
        except OSError as error:
            raise CannotStart(f"cannot enter directory {cwd or '(the worker’s own)'}: {error.strerror}") from None


def _spawn(argv: list[str], env: Mapping[str, str], actions: Sequence[tuple[int, int, int]]) -> int:
    try:
        return os.posix_spawn(
            find(argv[0], env.get("PATH", os.defpath)),
            argv,
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTED,
        )
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise CannotStart(f"cannot start {argv[0]}: {error.strerror}") from None
    except UnicodeEncodeError:
        raise CannotStart(f"cannot start {argv[0]!r}: not to be spelt in this locale") from None


def find(program: str, path: str) -> str:
    """Look a program up in the command's own PATH, as execvp(3) does; with a slash it is taken as it is."""
    if "/" in program:
        return program
    denied = None
    for folder in path.split(":"):
        candidate = f"{folder or '.'}/{program}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
        if denied is None and os.path.isfile(candidate):
            denied = candidate
    if denied:
        raise CannotStart(f"cannot start {program}: {denied} is not executable")
    raise CannotStart(f"cannot start {program}: no such program in PATH")


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _keep_from_commands() -> None:
    """Let no command inherit what whoever started us left open, such as a lock of their script."""
    for name in os.listdir("/dev/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # that of the listing itself is closed by now
                os.set_inheritable(int(name), False)


def _milliseconds(timeout: float | None) -> float | None:
    return None if timeout is None else max(timeout, 0.0) * 1000
