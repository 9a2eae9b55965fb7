"""An ssh server on loopback, with keys of its own, that lets this user in."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from helpers import wait_until

_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def lacking() -> str:
    """Return what is missing for an ssh server here, or nothing."""
    for name in ("sshd", "ssh", "ssh-keygen"):
        if shutil.which(name, path=_PATH) is None:
            return f"no {name} here: apt-get install openssh-server openssh-client"
    return ""


@contextlib.contextmanager
def server(place: Path) -> Iterator[str]:
    """Run a server; gives the words of an ssh that reaches it."""
    place.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True)
    shutil.copy(place / "user.pub", place / "authorized_keys")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    (place / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {place}/authorized_keys\nPermitRootLogin yes\nMaxStartups 100\nMaxSessions 100\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # which the server insists on
    sshd = shutil.which("sshd", path=_PATH) or "sshd"
    process = subprocess.Popen([sshd, "-D", "-e", "-f", str(place / "sshd_config")], stderr=subprocess.DEVNULL)
    options = f"-F none -p {port} -i {place}/user -o BatchMode=yes -o StrictHostKeyChecking=no"
    ssh = f"ssh {options} -o UserKnownHostsFile={place}/known -o LogLevel=ERROR {getpass.getuser()}@127.0.0.1"

    def answers() -> bool:
        assert process.poll() is None, "sshd has ended"
        return subprocess.run([*ssh.split(), "true"], capture_output=True).returncode == 0

    try:
        wait_until(answers, what="the ssh server to answer")
        yield ssh
    finally:
        process.terminate()
        process.wait()
