"""Workers, operators, crashes, drops and clocks in every order that hypothesis can think of.

Each rule does one thing to a spool: lets one real process go on by a few system calls, kills one, ends a command, puts
a job in, sets the clock. After each the promises of the protocol are held against the files.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from attack.ledger import Entry, Ledger
from attack.strings import Command, Puppet, Stage
from queuectl import clock
from queuectl.spool import Spool

IDS = st.sampled_from([None, None, "a", "b", "c"])
HOUR = 3_600_000
WHICH = st.integers(0, 1000)
JUMPS = [-24 * HOUR, -HOUR, -60_000, -1000, 1, 1000, 2000, 60_000, HOUR, 24 * HOUR]
# What follows each rule, for hypothesis likes to leave whole rules out: the clock jumps, some process goes on until it
# is about to make a call of some kind for the n-th time, and is killed there.
CALLS = ["", "rename", "rename", "rename", "lock", "open", "unlock", "spawn", "unlink", "nothing"]
KILLED = st.sampled_from([False, False, True])
THEN = st.tuples(st.sampled_from([0] * 10 + JUMPS), WHICH, st.sampled_from(CALLS), st.integers(1, 4), KILLED)
Then = tuple[int, int, str, int, bool]
COMMAND = 'read code <"$FIFO"; exit "$code"'


class Theatre(RuleBasedStateMachine):
    """A spool, up to three workers and some operators on strings, and a clock that anybody may set.

    No rule has a precondition: what hypothesis draws must not depend on what happens, or it cannot repeat it.
    """

    stage: Stage
    place: Path
    tried: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.root = self.place / f"{self.tried['plays']}"
        self.tried["plays"] += 1
        self.root.mkdir()
        self.stage.seed = 0
        self.spool = Spool.create(self.root / "spool")
        self.ledger = Ledger(self.root / "spool")
        self.now = self.latest = clock.now()
        self.puppets: list[Puppet] = []
        self.commands: list[Command] = []
        self.may_claim: dict[int, bool] = {}

    # What is there.

    @property
    def cast(self) -> list[Puppet]:
        return [puppet for puppet in self.puppets if puppet.lives]

    def workers(self) -> list[Puppet]:
        return [puppet for puppet in self.cast if puppet.verb == "work"]

    def pick(self, which: int, those: list[Puppet]) -> Puppet | None:
        return those[which % len(those)] if those else None

    def fields(self, entry: Entry, retries: int, priority: int) -> dict[str, Any]:
        fifo = self.root / entry.token
        os.mkfifo(fifo)
        wanted = {"id": entry.id} if entry.id else {}
        env = {"TOKEN": entry.token, "FIFO": str(fifo)}
        return {"command": COMMAND, "env": env, "max_retries": retries, "priority": priority, **wanted}

    # Putting jobs in.

    @initialize(backoff=st.sampled_from([0, 1, 60]), durability=st.sampled_from(["full", "relaxed"]))
    def set_up(self, backoff: int, durability: str) -> None:
        config = self.root / "spool" / "config.toml"
        config.write_text(f'backoff_base = {backoff}\ndurability = "{durability}"\nkill_grace_sec = 5\n')
        for id in ("a", None, None):
            self.put_drop(id, 1, 400, True)
        for _ in range(2):
            self.puppets.append(self.stage.puppet(self.ledger.spool, "work"))
        self.put_in(["a"], 1, 5)  # and so does a drop: one of the two is refused

    @rule(
        ids=st.lists(IDS, min_size=1, max_size=3),
        retries=st.integers(0, 2),
        priority=st.sampled_from([1, 5, 9]),
        then=THEN,
    )
    def enqueue(self, ids: list[str | None], retries: int, priority: int, then: Then) -> None:
        self.put_in(ids, retries, priority)
        self.then(*then)

    @rule(id=st.sampled_from(["a", "b", "c"]), one=THEN, other=THEN, then=THEN)
    def enqueue_one_id_twice_at_once(self, id: str, one: Then, other: Then, then: Then) -> None:
        self.put_in([id], 0, 5)
        self.let_on(self.puppets[-1], 60, *one[2:4])
        self.put_in([id], 0, 5)
        self.let_on(self.puppets[-1], 60, *other[2:4])
        self.then(*then)

    def put_in(self, ids: list[str | None], retries: int, priority: int) -> None:
        if len(self.cast) >= 5:
            return
        entries = [self.ledger.enter(id) for id in ids]
        jobs = [self.fields(entry, retries, priority) for entry in entries]
        puppet = self.stage.puppet(self.ledger.spool, "enqueue_many", jobs)
        puppet.args = [entry.token for entry in entries]
        self.puppets.append(puppet)

    @rule(id=IDS, retries=st.integers(0, 1), bytes_=st.integers(0, 400), whole=st.booleans(), then=THEN)
    def drop(self, id: str | None, retries: int, bytes_: int, whole: bool, then: Then) -> None:
        self.put_drop(id, retries, bytes_, whole)
        self.then(*then)

    def put_drop(self, id: str | None, retries: int, bytes_: int, whole: bool) -> None:
        entry = self.ledger.enter(id, acknowledged=True, may_be_rejected=id is not None or not whole)
        data = json.dumps(self.fields(entry, retries, 5)).encode()
        entry.whole, entry.data = data, data if whole else data[: bytes_ % len(data)]
        draft = self.root / "draft"
        draft.write_bytes(entry.data)
        os.rename(draft, self.ledger.spool / "pending" / f"drop-{entry.token}.json")
        self.tried["drops"] += 1

    @rule(which=WHICH, then=THEN)
    def write_the_rest(self, which: int, then: Then) -> None:
        """Complete a drop that was half written, unless it has been rejected."""
        halves = [entry for entry in self.ledger.entries.values() if entry.data != entry.whole]
        if halves:
            entry = halves[which % len(halves)]
            with suppress(FileNotFoundError):
                fd = os.open(self.ledger.spool / "pending" / f"drop-{entry.token}.json", os.O_WRONLY | os.O_APPEND)
                os.write(fd, entry.whole[len(entry.data) :])
                os.close(fd)
                entry.data = entry.whole
        self.then(*then)

    # Operators.

    def command(self, verb: str, *args: Any, **kwargs: Any) -> None:
        if len(self.cast) < 5:
            self.puppets.append(self.stage.puppet(self.ledger.spool, verb, *args, **kwargs))

    @rule(verb=st.sampled_from(["retry", "cancel", "remove"]), which=WHICH, then=THEN)
    def change(self, verb: str, which: int, then: Then) -> None:
        ids = self.ledger.ids()
        if ids:
            self.command(verb, ids[which % len(ids)])
        self.then(*then)

    @rule(which=st.sampled_from(["retry", "completed", "dead", "rejected"]), then=THEN)
    def change_many(self, which: str, then: Then) -> None:
        if which == "retry":
            self.command("retry_dead")
        else:
            self.command("purge", **{which: True})
        self.then(*then)

    @rule(then=THEN)
    def pause(self, then: Then) -> None:
        self.spool.pause()
        self.may_claim = {puppet.pid: puppet.at != "idle" for puppet in self.workers()}
        self.then(*then)

    @rule(then=THEN)
    def resume(self, then: Then) -> None:
        self.spool.resume()
        self.then(*then)

    @rule(then=THEN)
    def pass_requests_to_cancel_on(self, then: Then) -> None:
        for id in sorted(self.spool.cancel_requests()):
            for puppet in self.workers():
                if puppet.runs and puppet.runs.id == id:
                    puppet.say(f"cancel {id}")
                    puppet.runs_ended()
        self.then(*then)

    # Workers, their ends, and the ends of commands.

    @rule(then=THEN)
    def start_worker(self, then: Then) -> None:
        if len(self.workers()) < 3:
            self.puppets.append(self.stage.puppet(self.ledger.spool, "work"))
        self.then(*then)

    @rule(which=WHICH, steps=st.integers(1, 300))
    def go_on(self, which: int, steps: int) -> None:
        puppet = self.pick(which, [puppet for puppet in self.cast if not puppet.runs])
        if puppet:
            self.let_on(puppet, steps)

    def let_on(self, puppet: Puppet, steps: int, call: str = "nothing", times: int = 1) -> None:
        """Let a puppet on by so many steps, or until it waits for something, or has such a call before it."""
        for _ in range(steps):
            if not puppet.lives or puppet.runs:
                return
            self.step(puppet)
            times -= puppet.at.startswith(call)
            if puppet.at == "idle" or not times:
                return

    def step(self, puppet: Puppet) -> None:
        """Let a puppet on by one step, and take note of what it has done."""
        self.mark(puppet)
        known = len(puppet.started)
        was_idle = puppet.at == "idle"
        puppet.step(self.now)
        self.tried["steps"] += 1
        for command in puppet.started[known:]:
            self.started(puppet, command)
        if was_idle or puppet.at == "idle":
            self.may_claim[puppet.pid] = not self.spool.paused()
        if puppet.done is not None and puppet.verb == "enqueue_many":
            self.enqueued(puppet)

    def started(self, puppet: Puppet, command: Command) -> None:
        self.tried["runs"] += 1
        twin = [other for other in self.commands if other.token == command.token and other.lives()]
        self.commands.append(command)
        assert not twin, f"{command} overlaps {twin}"
        assert not self.spool.paused() or self.may_claim.get(puppet.pid, True), f"{command} was claimed during a pause"
        self.ledger.start(command.token)
        if puppet.stopped:
            self.ledger.entries[command.token].put_back += 1

    def enqueued(self, puppet: Puppet) -> None:
        for token in puppet.args:
            entry = self.ledger.entries[token]
            entry.acknowledged = puppet.done == ""
            entry.may_be_removed |= puppet.done != ""

    def mark(self, puppet: Puppet) -> None:
        """Take note of the jobs that an operator may delete or run again with its next step."""
        if puppet.verb in ("remove", "retry", "purge", "retry_dead"):
            for token, files in self.ledger.read().items():
                if not puppet.args or any(file.id == puppet.args[0] for file in files):
                    entry = self.ledger.entries[token]
                    entry.may_be_removed |= puppet.verb in ("remove", "purge")
                    entry.retried |= puppet.verb in ("retry", "retry_dead")
                    entry.succeeded &= not entry.retried

    @rule(which=WHICH, code=st.sampled_from([0, 0, 0, 1, 7]), then=THEN)
    def end_command(self, which: int, code: int, then: Then) -> None:
        running = [command for command in self.commands if command.lives()]
        if running:
            command = running[which % len(running)]
            command.end(self.root / command.token, code)
            worker = self.notice_ends()
            if worker:  # the most delicate part of its life begins
                then = (then[0], self.cast.index(worker), *then[2:])
        self.then(*then)

    @rule(which=WHICH, then=THEN)
    def kill_command(self, which: int, then: Then) -> None:
        running = [command for command in self.commands if command.lives()]
        if running:
            running[which % len(running)].kill()
            self.notice_ends()
        self.then(*then)

    def notice_ends(self) -> Puppet | None:
        """Let workers notice that their commands have ended; returns one that has."""
        found = [puppet for puppet in self.cast if puppet.runs and not puppet.runs.lives()]
        for puppet in found:
            puppet.runs_ended()
        return found[-1] if found else None

    @rule(which=WHICH, then=THEN)
    def stop_worker_at_once(self, which: int, then: Then) -> None:
        puppet = self.pick(which, [puppet for puppet in self.workers() if not puppet.stopped])
        if puppet:
            puppet.say("kill")
            puppet.stopped = True
            if puppet.runs:
                self.ledger.entries[puppet.runs.token].put_back += 1
                puppet.runs_ended()
        self.then(*then)

    def then(self, jump: int, which: int, call: str, times: int, is_killed: bool) -> None:
        """Set the clock, let a process go on, and perhaps kill it there."""
        self.now += jump
        self.latest = max(self.latest, self.now)
        self.tried["jumps of the clock"] += jump != 0
        puppet = self.pick(which, self.cast)
        if puppet:
            self.let_on(puppet, 60, call, times)
            if is_killed and puppet.lives:
                self.kill(puppet)

    def kill(self, puppet: Puppet) -> None:
        puppet.kill()
        self.ledger.kills += 1
        self.tried["kills"] += 1
        if puppet.verb == "enqueue_many":
            for token in puppet.args:
                self.ledger.entries[token].may_be_removed = True  # it may be queued or not

    # What must hold.

    @invariant()
    def promises_hold(self) -> None:
        self.ledger.check()
        self.tried["checks"] += 1

    def teardown(self) -> None:
        """Let everything end, and a fresh worker finish what is left."""
        try:
            self.finish()
        finally:
            for puppet in self.puppets:
                puppet.kill()
            for command in self.commands:
                command.kill()
            self.spool.close()
            shutil.rmtree(self.root)

    def finish(self) -> None:
        for puppet in self.cast:
            self.kill(puppet)
        for command in self.commands:
            if command.lives():
                command.kill()
        self.spool.resume()
        self.now = self.latest + 48 * HOUR
        worker = self.stage.puppet(self.ledger.spool, "work")
        self.puppets.append(worker)
        for _ in range(6000):
            self.step(worker)
            if worker.runs:
                worker.runs.end(self.root / worker.runs.token, 0)
                worker.runs_ended()
            elif worker.at == "idle":
                self.now += HOUR
                if not any(file.place in ("pending", "failed", "processing") for file in self.files()):
                    break
        self.promises_hold()
        stuck = [file for file in self.files() if file.place in ("pending", "failed", "processing")]
        assert not stuck, f"nobody finishes {stuck}"

    def files(self) -> Iterator[Any]:
        for files in self.ledger.read().values():
            yield from files


def test_in_any_order_of_steps_crashes_commands_and_clocks_the_promises_hold(
    tmp_path: Path, thorough: bool, record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _fd: None)  # no power is cut here
    tried: Counter[str] = Counter()
    stage = Stage(tmp_path / "told")
    try:
        machine = type("Play", (Theatre,), {"stage": stage, "place": tmp_path, "tried": tried})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=2000 if thorough else 40,
                stateful_step_count=40,
                deadline=None,
                derandomize=not thorough,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        stage.close()
        record_property("tried", ", ".join(f"{count} {what}" for what, count in sorted(tried.items())))
    assert "Cannot look for work" not in (tmp_path / "told").read_text()
    assert tried["kills"] > 20  # a play that tries nothing shows nothing
