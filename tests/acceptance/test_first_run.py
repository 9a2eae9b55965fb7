from __future__ import annotations

from helpers import Cli


def test_a_job_runs_and_its_output_is_kept(cli: Cli) -> None:
    id = cli.enqueue("echo hello")
    cli.drain()
    assert cli.log(id) == b"hello\n"
    assert cli.state(id) == "completed"
