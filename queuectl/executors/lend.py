"""What an engine runs on a node: a keeper in a process of its own, for as long as the keeper has something to do.

It is sent to the node by value, so that nothing of ours need be installed there: only the standard library here.
"""

from __future__ import annotations


def lend(keeper: str, address: str, port: int, token: str) -> str:
    """Run a keeper, given as text, to its end; returns what it complained of. Kills what it leaves when it is killed.

    The pipe to its standard input ends with this process, and the keeper sees that.
    """
    import contextlib
    import os
    import signal
    import subprocess
    import sys

    program = [sys.executable, "-I", "-S", "-c", keeper, address, str(port), token]
    pipe = subprocess.PIPE
    group = 0
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            group = int(line)
        complaint = process.stderr.read().decode("utf-8", "replace").strip()
    if group:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    return complaint[-500:]
