"""A Slurm of one node on this machine, by slurm.sh."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from helpers import wait_until

PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "scancel", "squeue")
_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def lacking() -> str:
    """Return what is missing for a Slurm here, or nothing."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"no {missing[0]} here: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "a Slurm of one's own needs root"


@contextlib.contextmanager
def slurm(place: Path) -> Iterator[dict[str, str]]:
    """Run a Slurm; gives the variables by which its programs find it."""
    process = subprocess.Popen(
        [str(Path(__file__).with_name("slurm.sh")), str(place)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    env = {"SLURM_CONF": str(place / "slurm.conf")}

    def is_up() -> bool:
        assert process.poll() is None, "slurm.sh has ended"
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], env={**os.environ, **env}, capture_output=True, text=True)
        return done.stdout.strip() == "idle"

    try:
        wait_until(is_up, timeout=60, what="the Slurm node to be idle")
        yield env
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
