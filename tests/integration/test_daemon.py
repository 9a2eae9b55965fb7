from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from queuectl import daemon
from queuectl.errors import Refused


def test_what_the_machine_refuses_before_the_start_is_told_in_one_line(tmp_path: Path) -> None:
    def body(_: Callable[[str], None]) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "spool/processing")

    log = tmp_path / "log"
    with pytest.raises(Refused, match=r"^spool/processing: Input/output error$"):
        daemon.detach(str(log), body)
    assert log.read_text() == "error: spool/processing: Input/output error\n"
