"""What a worker knows of the work that waits: candidates in the order of claiming, drops, the next due time.

A look renews all of it, and so does a name that the supervisor points at, which is then all that is known. What is
rejected or left on the way is told to the operator. When to look, and whether to claim, is for the worker to say.
"""

from __future__ import annotations

from collections.abc import Callable

from queuectl import catalog, clock, names, schedule
from queuectl.admission import Admission, Report
from queuectl.config import Config
from queuectl.disk import Miss
from queuectl.errors import BadJobFile
from queuectl.job import State
from queuectl.scan import Look, look
from queuectl.spool import Claim, Spool
from queuectl.terminal import Terminal

KEEP_FIRST = 16_384  # candidates that a look keeps at least where there are more than it could keep
KEEP_MOST = 65_536  # and at most; as many as the last list has shown to be of use
FRESH_S = 0.5  # a list of candidates is good for this long, or for 25 times what it cost to make
FRESH_COSTS = 25


class Plan:
    """The work that waits, as one worker knows it. `tell` says a word to its supervisor.

    `soonest` is the instant at which something is to be looked at next, `cost_s` what the last look took.
    """

    def __init__(self, spool: Spool, config: Config, terminal: Terminal, tell: Callable[[str, str], None]) -> None:
        self._spool, self._terminal, self._tell = spool, terminal, tell
        self.configure(config)
        self._candidates: list[schedule.Candidate] = []
        self._next = 0
        self._scanned = False
        self._stale_at = 0.0
        self._keep = KEEP_FIRST
        self._left: set[str] = set()
        self.soonest: int | None = None
        self.cost_s = 0.0

    def configure(self, config: Config) -> None:
        """Go by these settings from now on."""
        self._config = config
        self.admission = Admission(self._spool, limit=config.max_job_bytes)

    @property
    def waiting(self) -> int:
        """How many candidates have not been tried."""
        return len(self._candidates) - self._next

    def is_stale(self) -> bool:
        """Say whether something more urgent may have come meanwhile."""
        return clock.monotonic() > self._stale_at

    def note(self, instant: int) -> None:
        """Take note that something is to be looked at then."""
        self.soonest = instant if self.soonest is None else min(self.soonest, instant)

    # Looking.

    def look(self) -> None:
        """Scan for work, admit drops, and plan what to claim."""
        began, now = clock.monotonic(), clock.now()
        self._keep = self._to_keep()
        known = {found.name for found in self._candidates}
        seen: Look = look(self._spool, now, self._keep, KEEP_MOST, known)
        before = self.soonest
        self._begin(seen.candidates, seen.soonest, scanned=True)
        if before is not None and before > now:
            self.note(before)  # a file that is busy or half written is to be looked at again then
        if seen.drops:
            now = clock.now()  # some of them may have come during the scan
            report = self.admission.admit(seen.drops, now, seen.late)
            self.heed(report, now)
        self.cost_s = clock.monotonic() - began
        self._stale_at = clock.monotonic() + max(FRESH_S, FRESH_COSTS * self.cost_s)

    def _begin(self, candidates: list[schedule.Candidate], soonest: int | None, *, scanned: bool) -> None:
        self._candidates, self._next, self.soonest, self._scanned = candidates, 0, soonest, scanned

    def _to_keep(self) -> int:
        """Return how many candidates the next look is to keep, when this one has kept up to `_keep`."""
        if not self._scanned:
            return self._keep
        used_up = self._next == len(self._candidates) >= self._keep
        return min(max(8 * self._keep if used_up else 4 * self._next, KEEP_FIRST), KEEP_MOST)

    def look_at(self, places: list[str]) -> None:
        """Plan for these names alone, `pending/<name>`, which have come while nothing else waited."""
        self._begin([], None, scanned=False)
        self._stale_at = clock.monotonic() + FRESH_S
        for path in places:
            place, _, name = path.partition("/")
            self._look_at(place, name)

    def _look_at(self, place: str, name: str) -> None:
        now = clock.now()
        known = names.waiting(name)
        if known is None:
            if place == State.PENDING and names.is_drop(name):
                self.heed(self.admission.admit([name], now), now)
        elif known.due <= clock.stamp(now):
            self._candidates.append(schedule.candidate(place, name))
        else:
            self.note(clock.unstamp(known.due))

    def heed(self, report: Report, now: int) -> None:
        """Take admitted drops into the plan and tell of the others."""
        for name, why in report.rejected:
            self._terminal.warn(f"Rejected {name!r}: {why}")
        for name, why in report.left:
            if name not in self._left:
                self._left.add(name)
                self._tell("left", f"Left {name!r}: {why}")  # each worker sees it, and one line is enough
        if report.again_at is not None:
            self.note(report.again_at)
        ready = [schedule.candidate(State.PENDING, name) for name in report.admitted if name[:19] <= clock.stamp(now)]
        later = [clock.unstamp(name) for name in report.admitted if name[:19] > clock.stamp(now)]
        if later:
            self.note(min(later))
        if ready:
            self._candidates[self._next :] = sorted(self._candidates[self._next :] + ready)

    # Claiming.

    def take_next(self, claim: Callable[[str, str], Claim | None]) -> Claim | None:
        """Claim the next job that is ready, by `claim`; looks again when all that was known has been tried."""
        for _ in range(2):
            while self._next < len(self._candidates):
                found = self._candidates[self._next]
                self._next += 1
                if not self._spool.directories[found.place].has(found.name):
                    continue  # others have it, and there are many of them
                claimed = claim(found.place, found.name)
                if claimed:
                    return claimed
            if not (self._scanned and self._candidates):
                return None
            self.look()
        return None

    def put_back(self) -> None:
        """Let the candidate that was tried last be the next again."""
        self._next -= 1

    def claim(self, place: str, name: str) -> Claim | None:
        """Claim one job by name; what cannot be claimed is gone, busy, or refused."""
        now = clock.now()
        try:
            # `max_job_bytes` is for drops: a job that is in has its history too, and must not be lost for its size.
            durable = self._config.durability == "full"
            claim = self._spool.claim(place, name, now=now, limit=catalog.MAX_BYTES, durable=durable)
        except BadJobFile as error:
            self.heed(self.admission.refuse_canonical(place, name, error, now), now)
            return None
        except OSError as error:
            self.heed(Report(left=self.admission.stuck(place, name, error)), now)
            return None
        if claim is Miss.BUSY:
            self.note(now + 100)
        elif claim is Miss.SPECIAL:
            self.heed(self.admission.refuse_special(place, name, now), now)
        return None if isinstance(claim, Miss) else claim
