from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The installed command on a new spool, called from a directory of its own."""
    work = tmp_path / "work"
    work.mkdir()
    made = Cli(tmp_path / "spool", work)
    made.ok("init", str(made.spool), spool=False)
    return made
