"""Queue the tasks for a peer: `python -m benchmarks.apps.produce MODULE COUNT`."""

from __future__ import annotations

import importlib
import sys

from benchmarks.apps.common import MARKS


def main() -> None:
    """Queue as many tasks as asked, with a mark after the first tenth and one at the end."""
    module, count = sys.argv[1], int(sys.argv[2])
    send = importlib.import_module(f"benchmarks.apps.{module}").send
    for number in range(count):
        if number == count // 10:
            send(MARKS[0])
        send("")
    send(MARKS[1])


if __name__ == "__main__":
    main()
