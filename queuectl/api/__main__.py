"""`python -m queuectl.api`: the same as `queuectl dashboard`."""

from __future__ import annotations

import sys

from queuectl.cli import main

if __name__ == "__main__":
    sys.exit(main(["dashboard", *sys.argv[1:]]))
