"""What the protocol promises, as questions to one state."""

from __future__ import annotations

from model.parts import double, is_drop, is_unmended
from model.world import COMPLETED, DEAD, OVERWRITTEN, PROCESSING, RAN_AGAIN, TOUCHED, State, file

TWO_NAMES = "two names for one job"
OVERLAP = "two runs at once"
LOST = "a job lost"
UNCOUNTED = "more starts than attempts"
STUCK = "no way to an end"
ALL = (TWO_NAMES, OVERLAP, LOST, UNCOUNTED, RAN_AGAIN, OVERWRITTEN, TOUCHED, STUCK)


def broken(s: State) -> list[str]:
    """Return the promises that a state breaks; before the first start check ends a job may be there twice."""
    found = [s.fault] if s.fault else []
    if len({command.job for command in s.commands}) < len(s.commands):
        found.append(OVERLAP)
    if _lost(s):
        found.append(LOST)
    if not is_unmended(s):
        if double(s):
            found.append(TWO_NAMES)
        if _uncounted(s):
            found.append(UNCOUNTED)
    return found


def _lost(s: State) -> bool:
    there = {file(s, ino).job for _, ino in s.names if file(s, ino).whole}
    real = [job for job, known in enumerate(s.ledger) if (known.acked or known.starts) and not known.gone]
    return any(job not in there for job in real)


def _uncounted(s: State) -> bool:
    """Say whether a job outside processing/ has begun more often than its file says."""
    for name, ino in s.names:
        found = file(s, ino)
        if name.place != PROCESSING and found.whole and found.attempts < s.ledger[found.job].starts:
            return True
    return False


def ended(s: State) -> bool:
    """Say whether there is nothing left to do: every job has ended, every process rests."""
    rest = all(actor.at == "idle" for actor in s.actors) and not s.commands
    return rest and all(name.place in (COMPLETED, DEAD) and not is_drop(name) for name, _ in s.names)
