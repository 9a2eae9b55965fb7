"""Leaving the terminal: run something in the background, in its own session, with its output in a file.

Returns only once it has started, so that a failure to start is still seen by the person who typed it.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from queuectl.errors import Refused


def detach(log: str, body: Callable[[Callable[[str], None]], int]) -> int:
    """Run `body(started)` in a process of its own; returns its pid after it has called `started("")`.

    Its output is appended to the file `log`. Raises `Refused` when it ends before that, or passes a problem instead.
    """
    ready, report = os.pipe()
    first = os.fork()
    if first == 0:
        try:
            os.close(ready)
            os.setsid()
            if os.fork() == 0:
                _be_daemon(log, report, body)
        finally:
            os._exit(0)
    os.close(report)
    os.waitpid(first, 0)
    said = os.read(ready, 4096).decode()  # not to the end of the file, which its forked workers hold open too
    os.close(ready)
    if not said.isdigit():
        raise Refused(said or "the workers did not start", hint=f"what they said stands in {log}")
    return int(said)


def _be_daemon(log: str, report: int, body: Callable[[Callable[[str], None]], int]) -> None:
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        for source, target in ((null, 0), (out, 1), (out, 2)):
            os.dup2(source, target)
        os.set_inheritable(report, False)

        told = False

        def started(problem: str) -> None:
            nonlocal told
            if not told:
                told = True
                os.write(report, (problem or str(os.getpid())).encode()[:4096])
                os.close(report)

        try:
            code = body(started)
        except OSError as error:
            problem = f"{error.filename or 'workers'}: {error.strerror}"
            os.write(2, f"error: {problem}\n".encode("utf-8", "backslashreplace"))
            started(problem)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
