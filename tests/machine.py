"""What tests ask of the machine itself: whether it lets them mount, and files of kinds that few programs make."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path


def can_mount() -> bool:
    """Say whether file systems can be mounted here, in a namespace of one's own."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


def leave_socket(path: Path) -> None:
    """Make a socket at a path; nobody listens on it any more."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket must be short
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)
