"""`python -m benchmarks`: run them, print the results, write results.md.

The exit status is 0 when all bars hold, and 1 when one does not or could not be measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from benchmarks import drain, enqueue, executors, idle, latency, machine, million, peers, place, processes, report
from benchmarks.harness import Bench, Figure

BENCHMARKS: dict[str, Callable[[Bench], list[Figure]]] = {
    "drain-direct": drain.direct,
    "drain-shell": drain.shell,
    "drain-full": drain.full,
    "peers": peers.peers,
    "enqueue-bulk": enqueue.bulk,
    "enqueue-one": enqueue.single,
    "latency-idle": latency.idle,
    "latency-loaded": latency.loaded,
    "million-scheduled": million.scheduled,
    "million-ready": million.ready,
    "idle": idle.idle,
    "many-workers": drain.many_workers,
    "executors": executors.executors,
}
RESULTS = Path(__file__).with_name("results.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.list:
        for name, benchmark in BENCHMARKS.items():
            _print(f"{name:18} {(benchmark.__doc__ or '').splitlines()[0]}")
        return 0
    processes.adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    facts = machine.facts()
    lacking = "a directory was chosen" if options.place else place.why_no_image()
    facts["Fresh place"] = f"none: {lacking}" if lacking else "a new ext4 image, loop-mounted, for each benchmark"
    rounds = options.rounds or (2 if options.quick else 5)
    bench = Bench(rounds, options.quick, options.place, image=lacking is None, say=_say)
    facts["Rounds"] = str(rounds)
    figures = [figure for name in options.only or BENCHMARKS for figure in _run(name, bench)]
    return _finish(facts, figures, options)


def _finish(facts: dict[str, str], figures: list[Figure], options: argparse.Namespace) -> int:
    judged = not options.quick
    page = report.page(facts, figures, judged=judged)
    _print(page)
    if judged and not options.only:
        RESULTS.write_text(page)
        _say(f"written: {RESULTS}")
    return 0 if report.passed(figures, judged=judged) else 1


def _run(name: str, bench: Bench) -> list[Figure]:
    _say(f"{name}:")
    try:
        return BENCHMARKS[name](bench)
    except (processes.BenchError, OSError) as error:
        _say(f"  error: {error}")
        return [Figure(name, error=str(error))]
    finally:
        processes.sweep()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and end")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=BENCHMARKS, help="run these; writes no results.md")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="rounds of each measurement (5)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that all works: no verdict, no results.md"
    )
    parser.add_argument("--place", type=Path, metavar="DIR", help="measure in DIR instead of fresh ext4 images")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
