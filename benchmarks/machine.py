"""What the figures were measured on: machine, kernel, Python, programs, commit.

A number without these is not written down.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks.processes import ROOT

_VERSIONS = {
    "xargs": ["xargs", "--version"],
    "parallel": ["parallel", "--version"],
    "tsp": ["tsp", "-V"],
    "redis-server": ["redis-server", "--version"],
}


def facts() -> dict[str, str]:
    """Return the facts that head the results, in order."""
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Commit": commit(),
        "CPU": f"{_field('/proc/cpuinfo', 'model name') or platform.machine()}, {_cores()} cores",
        "Memory": _memory(),
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Load at the start": f"{os.getloadavg()[0]:.2f} (figures taken on a busy machine are worth little)",
        "Programs": ", ".join(_programs()),
    }


def commit() -> str:
    """Return the commit of this checkout, marked when the files differ from it; results.md itself does not count."""
    head = _git("rev-parse", "HEAD") or "none"
    changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results.md")
    return head + (" (dirty)" if changed else "")


def _git(*args: str) -> str:
    try:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _memory() -> str:
    total = _field("/proc/meminfo", "MemTotal").split()
    return f"{int(total[0]) / 2**20:.1f} GiB" if total else "unknown"


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _programs() -> list[str]:
    found = []
    for name, args in _VERSIONS.items():
        if shutil.which(name):
            said = subprocess.run(args, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
            words = [word.removeprefix("v=") for word in said.stdout.split() if any(c.isdigit() for c in word)]
            found.append(f"{name} {words[0]}" if words else name)
    if shutil.which("nq"):
        found.append("nq")
    for package in ("huey", "rq", "dramatiq", "redis"):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return found
