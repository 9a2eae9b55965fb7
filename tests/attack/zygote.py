"""A process that has loaded queuectl, and forks a command line or a worker for each order that it reads.

Loading the package takes far longer than what the attacks look at, and makes hundreds of system calls of its own. What
is forked runs the code of the installed command. With a gate it waits there, so that strace can be attached before
anything has happened, at the beginning (`"hold": "self"`) or in the first worker that is forked (`"hold": "worker"`).
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import sys
from pathlib import Path
from typing import Any

import queuectl
from queuectl import cli, clock, config, registry, supervisor
from queuectl.executors.local import LocalExecutor
from queuectl.inbox import Inbox
from queuectl.spool import Spool
from queuectl.terminal import Terminal
from queuectl.worker import Worker


def load_all() -> None:
    """Import everything that a command may need, so that no import is among the calls that are counted."""
    for module in pkgutil.walk_packages(queuectl.__path__, "queuectl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("portalocker", "ctypes", "shlex"):
        importlib.import_module(name)


def hold(gate: str) -> None:
    """Say who we are, and wait at the gate; whoever comes later finds it open."""
    try:
        fd = os.open(gate, os.O_RDWR)
    except FileNotFoundError:
        return
    os.unlink(gate)
    Path(f"{gate}.new").write_text(str(os.getpid()))
    os.rename(f"{gate}.new", f"{gate}.pid")
    os.read(fd, 1)
    os.close(fd)


def hold_workers(gate: str) -> None:
    """Let the first worker that a supervisor forks wait at the gate."""
    be_worker = supervisor.Supervisor._be_worker

    def held(self: supervisor.Supervisor, number: int, inbox: int, words: int) -> None:
        hold(gate)
        be_worker(self, number, inbox, words)

    supervisor.Supervisor._be_worker = held  # type: ignore[method-assign]


def work(path: str) -> int:
    """Be a worker without a supervisor until nothing is ready."""
    spool = Spool(path)
    registered = registry.register(spool, registry.WORKER, os.getppid(), clock.now())
    worker = Worker(
        spool,
        lambda: config.load(spool.config_text()),
        executor=LocalExecutor(),
        inbox=Inbox(None),
        supervisor=None,
        terminal=Terminal(1, "WARNING"),
    )
    while worker.run_once():
        pass
    os.close(registered)
    return 0


def live(order: dict[str, Any]) -> int:
    """Carry out an order in a forked process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(order["cwd"])
    for fd, name in ((1, "out"), (2, "err")):
        file = os.open(f"{order['to']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.dup2(file, fd)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0)  # noqa: SIM115  # as in a new interpreter
    if order["hold"] == "self":
        hold(order["gate"])
    elif order["hold"] == "worker":
        hold_workers(order["gate"])
    arguments = order["arguments"]
    code = work(arguments[1]) if arguments[0] == "work" else cli.main(arguments)
    sys.stdout.flush()
    return code


def main() -> None:
    """Fork for each line of stdin, and answer with the pid."""
    load_all()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever gave the order sees the end by its pidfd
    replies = os.dup(1)
    os.set_inheritable(replies, False)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.close(replies)
            code = 70
            try:
                code = live(order)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                Path(f"{order['to']}.code").write_text(str(code))
                os._exit(code & 255)
        os.write(replies, b"%d\n" % pid)


if __name__ == "__main__":
    main()
