"""The operations that power cuts interrupt: what is there before, and the steps themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from attack.power_world import World
from queuectl import catalog, clock, operate, settling
from queuectl.job import State
from queuectl.operate import Spots

Step = Callable[[World], None]
FAILS = "exit 7"


@dataclass(frozen=True)
class Operation:
    """What is done before, made durable, and what is cut; `create` says whether the spool is there already."""

    before: Step
    act: Step
    create: bool


OPERATIONS: dict[str, Operation] = {}


def operation(before: Step = lambda _: None, *, create: bool = True) -> Callable[[Step], Step]:
    """Add an operation, named as its function."""

    def add(act: Step) -> Step:
        OPERATIONS[act.__name__.replace("_", " ")] = Operation(before, act, create)
        return act

    return add


# Putting jobs in.


@operation()
def enqueue(world: World) -> None:
    world.enqueue("a")
    world.enqueue("b")


@operation(create=False)
def enqueue_into_a_new_spool(world: World) -> None:
    world.create()
    world.enqueue("a")


@operation()
def enqueue_three(world: World) -> None:
    world.enqueue("a", "b", "c")


@operation()
def enqueue_twelve(world: World) -> None:
    world.enqueue(*(f"many{number}" for number in range(12)))


@operation(lambda world: world.drop_job("a", durable=True))
def admit(world: World) -> None:
    world.worker.admit()
    world.run("a")


@operation(lambda world: world.drop_job("a", durable=False))
def admit_what_nobody_synced(world: World) -> None:
    world.worker.admit()
    world.run("a")


def bad_drop(world: World) -> None:
    data = b'{"command": 7}\n'
    world.drop(data, durable=True)
    world.kept = (data,)


@operation(bad_drop)
def reject(world: World) -> None:
    world.worker.admit()


# Attempts.


def failed_once(world: World, end: str = FAILS) -> None:
    world.enqueue("a", end=end, max_retries=1)
    world.run("a")


@operation(lambda world: world.enqueue("a"))
def succeed(world: World) -> None:
    world.run("a")


@operation(lambda world: world.enqueue("a", end=FAILS))
def fail(world: World) -> None:
    world.run("a")


@operation(lambda world: world.enqueue("a", end=FAILS, max_retries=0))
def bury(world: World) -> None:
    world.run("a")


@operation(failed_once)
def bury_after_a_retry(world: World) -> None:
    world.run("a")


@operation(lambda world: failed_once(world, "[ $QUEUECTL_ATTEMPT = 2 ]"))
def succeed_after_a_retry(world: World) -> None:
    world.run("a")


@operation(lambda world: world.enqueue("a"))
def release(world: World) -> None:
    claim = world.claim("a")
    settling.release(claim.job, clock.now())
    world.settle(claim)


# What an operator asks for.


def dead(world: World) -> None:
    world.enqueue("a", end=FAILS, max_retries=0)
    world.run("a")


@operation(dead)
def retry_by_hand(world: World) -> None:
    world.change("a")
    world.record(operate.retry(world.spool, Spots(world.spool), "a", only=State.DEAD))


@operation(lambda world: world.enqueue("a"))
def retry_a_success_by_hand(world: World) -> None:
    world.run("a")
    world.change("a")
    world.record(operate.retry(world.spool, Spots(world.spool), "a"))
    world.run("a")


def cancel_it(world: World) -> None:
    world.change("a")
    world.record(operate.cancel(world.spool, Spots(world.spool), "a"))


@operation(lambda world: world.enqueue("a"))
def cancel(world: World) -> None:
    cancel_it(world)


@operation(failed_once)
def cancel_between_retries(world: World) -> None:
    cancel_it(world)


@operation(dead)
def remove(world: World) -> None:
    world.change("a")
    world.told["a"].going = True
    operate.remove(world.spool, Spots(world.spool), "a")


@operation()
def configure(world: World) -> None:
    for text in ("max_retries = 1\n", "max_retries = 2\n"):
        world.config = (*world.config, text)
        world.spool.write_config(text, clock.stamp(clock.now()))
        world.config = (text,)


@operation()
def pause(world: World) -> None:
    world.paused = (False, True)
    world.spool.pause()
    world.paused = (True,)


@operation(pause)
def resume(world: World) -> None:
    world.paused = (False, True)
    world.spool.resume()
    world.paused = (False,)


# Starting over after a crash.


def start_over(world: World, state: State) -> None:
    world.change("a")
    world.worker.start_over()
    found = catalog.load(world.spool, *catalog.find(world.spool, ["a"])["a"])
    assert found is not None
    assert found.state is state
    world.record(found)


def orphan(world: World, **fields: object) -> None:
    world.enqueue("a", **fields)
    claim = world.claim("a")
    world.execute(claim)
    claim.close()


@operation(orphan)
def recover(world: World) -> None:
    start_over(world, State.FAILED)


@operation(lambda world: orphan(world, max_retries=0))
def recover_to_the_dead(world: World) -> None:
    start_over(world, State.DEAD)


def decided(world: World) -> None:
    world.enqueue("a", end=FAILS, max_retries=0)
    claim = world.claim("a")
    settling.decide(claim.job, world.execute(claim), world.worker.config, "host.1")
    world.spool._decide(claim, clock.now(), durable=True)
    claim.close()


@operation(decided)
def finish_a_move(world: World) -> None:
    start_over(world, State.DEAD)


def two_names(world: World) -> None:
    world.enqueue("a")
    place, name = world.where("a")
    claim = world.claim("a")
    os.link(world.path / "processing" / claim.name, world.path / place / name)
    claim.close()


@operation(two_names)
def settle_twins(world: World) -> None:
    start_over(world, State.FAILED)


# More than one job, without a moment's rest between.


def three_kinds(world: World) -> None:
    world.enqueue("good")
    world.enqueue("bad", end=FAILS)
    world.enqueue("late", end=FAILS, max_retries=1)
    world.run("late")
    world.enqueue("put-back")


@operation(three_kinds)
def four_at_once(world: World) -> None:
    claims = [world.claim(id) for id in ("bad", "good", "late", "put-back")]
    for claim in claims[:3]:
        settling.decide(claim.job, world.execute(claim), world.worker.config, "host.1")
        world.settle(claim)
        world.enqueue(f"after-{claim.job.id}")
    settling.release(claims[3].job, clock.now())
    world.settle(claims[3])
    world.enqueue("newer")


@operation()
def a_whole_life(world: World) -> None:
    world.enqueue("b")
    world.enqueue("a", end="[ $QUEUECTL_ATTEMPT = 3 ]", max_retries=1)
    world.run("a")
    world.run("b")
    world.run("a")
    world.change("a")
    world.record(operate.retry(world.spool, Spots(world.spool), "a"))
    world.run("a")
    cancel_it(world)
    world.enqueue("c")
