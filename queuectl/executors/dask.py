"""Commands on a dask cluster: its scheduler gives places to keepers, and the keepers are given commands directly.

A keeper is a task of the cluster's that takes one command after another while there are any, so that a command costs
the scheduler nothing. It is asked for before a job is claimed, so that what has no place yet stays in the queue.
Nothing that the engine does by itself, such as running a lost task again, can run a command a second time.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from queuectl import clock
from queuectl.executors import CannotStart, Execution, Exit, Order, Unavailable
from queuectl.executors.connection import Lease, RemoteExecution
from queuectl.executors.guard import Guard
from queuectl.executors.keeper import DEAD_S
from queuectl.executors.line import Line

LOCAL = "local"
CONNECT_S = 10.0
COUNT_AGAIN_S = 2.0  # how long the number of places is good for
IDLE_S = 2.0  # a keeper with nothing to do leaves the cluster to others
LEND_S = 30.0  # and one with much to do, now and then, so that others have their turn
FENCE_S = DEAD_S + 3.0
_NOT_ASKED = ("cpus", "mem")  # of which a scheduler knows nothing: a place is a thread


class DaskExecutor:
    """A cluster by the address of its scheduler, a scheduler file, or `local` for one on this machine.

    `wait_s` is how long a command with wishes of its own may wait for a place; `resources` are what a command asks for
    that has none. Raises `Unavailable`. To be made while the process has no threads.
    """

    def __init__(self, scheduler: str, wait_s: float, resources: Mapping[str, float | str]) -> None:
        self._scheduler, self._wait_s, self._resources = scheduler, wait_s, resources
        try:
            self._usual = _kind(resources)
        except CannotStart as error:
            raise Unavailable(str(error)) from None
        _allow_many_files()
        self._guard = Guard(FENCE_S)
        self._distributed = _import()
        self._cluster: Any = None
        self._client: Any = None
        self._connect()
        self._line = Line(_own_address(self._client), self._guard, self._left)
        self._wake, self._wake_out = os.pipe()
        for fd in (self._wake, self._wake_out):
            os.set_blocking(fd, False)
        self._source = (pkgutil.get_data("queuectl.executors", "keeper.py") or b"").decode()
        self._futures: dict[Lease, Any] = {}
        self._done: deque[Lease] = deque()
        self._places, self._counted_at = 0, 0.0
        self._numbers = 0
        self._trouble = ""

    def _connect(self) -> None:
        """Connect to the scheduler, again when it had gone."""
        if self._client is not None and self._client.status == "running":
            return
        if self._client is not None:
            self._client.close(timeout=1)
            self._client = None
        where: dict[str, Any] = {"address": self._scheduler}
        try:
            if self._scheduler == LOCAL:
                # Threads are enough: a keeper is a process of its own.
                self._cluster = self._cluster or self._distributed.LocalCluster(
                    n_workers=1, threads_per_worker=os.cpu_count(), processes=False, dashboard_address=None
                )
                where = {"address": self._cluster}
            elif "://" not in self._scheduler:
                where = {"scheduler_file": _file(self._scheduler)}
            else:
                _knock(self._scheduler)
            self._client = self._distributed.Client(**where, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            what = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise Unavailable(f"cannot reach the dask scheduler {self._scheduler}: {what[0]}") from None

    def start(self, order: Order) -> RemoteExecution:
        """Start a command, or let it wait for a place; see `Executor.start`."""
        kind = _kind({**self._resources, **order.resources})
        execution = RemoteExecution(self._line, order, clock.monotonic() + self._wait_s)
        if not self._line.place(execution, kind):
            self._lend(kind, 1)
        return execution

    # What `Cluster` asks for.

    def ready(self) -> bool:
        """Say whether a keeper has nothing to do."""
        return self._line.has_free(self._usual)

    def want(self, count: int) -> None:
        """Ask for keepers, as many as the cluster has places for; one where it has none yet but may come to have."""
        self._connect()
        now = clock.monotonic()
        if now - self._counted_at > COUNT_AGAIN_S:
            self._places, self._counted_at = sum(self._client.nthreads().values()), now
        self._lend(self._usual, min(count, max(self._places, 1) - len(self._futures)))
        if self._trouble:
            trouble, self._trouble = self._trouble, ""
            raise Unavailable(trouble)

    def fds(self) -> Sequence[int]:
        """Return what becomes readable when something has happened."""
        return (self._line.fileno(), self._wake)

    def pump(self) -> list[tuple[Execution, Exit]]:
        """Take in what has happened; returns the executions that have ended."""
        self._line.pump()
        self._line.dismiss(IDLE_S, LEND_S)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        while self._done:
            self._forget(self._done.popleft())
        ended, self._line.ended = self._line.ended, []
        return [*ended]

    def node(self, execution: Execution) -> str:
        """Return the name of the node that runs a command."""
        return execution.node() if isinstance(execution, RemoteExecution) else ""

    def close(self) -> None:
        """Send the keepers away, and leave the cluster."""
        self._line.close()
        self._client.close(timeout=1)
        if self._cluster is not None:
            self._cluster.close(timeout=5)
        self._guard.close()

    # Keepers.

    def _lend(self, kind: Kind, count: int) -> None:
        """Have keepers started by the cluster."""
        from queuectl.executors.lend import lend

        for _ in range(count):
            lease = self._line.lease(kind)
            self._numbers += 1
            future = self._client.submit(
                lend,
                self._source,
                *self._line.address,
                lease.token,
                key=f"queuectl-{os.getpid()}-{self._numbers}-{lease.token[:8]}",
                pure=False,
                retries=0,
                resources=dict(kind) or None,
            )
            self._futures[lease] = future
            future.add_done_callback(lambda _, lease=lease: self._is_done(lease))

    def _is_done(self, lease: Lease) -> None:
        """Hear, in the client's thread, that a keeper has ended."""
        self._done.append(lease)
        os.write(self._wake_out, b"!")

    def _left(self, lease: Lease) -> None:
        """A keeper's connection has ended: its place is the cluster's again, whatever becomes of its task."""
        future = self._futures.pop(lease, None)
        if future is not None:
            future.release()

    def _forget(self, lease: Lease) -> None:
        """A task has ended; one whose keeper never came has something to say."""
        future = self._futures.pop(lease, None)
        self._line.end_lease(lease)
        if future is None or lease.came:
            return
        error = future.exception(timeout=1)  # whatever went wrong on the node, or in between
        said = future.result(timeout=1) if error is None else str(error)
        self._trouble = f"a node could not run a keeper: {said}" if said else self._trouble


def _import() -> Any:
    import logging
    import warnings

    logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)  # what matters is told by us, in one line
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import cloudpickle
            import distributed
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed (pip install 'queuectl[dask]')") from None
    from queuectl.executors import lend

    cloudpickle.register_pickle_by_value(lend)  # the nodes need nothing of ours
    return distributed


def _allow_many_files() -> None:
    """Raise our limit to what the system allows: each job that runs elsewhere takes four descriptors."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _file(path: str) -> str:
    if not os.path.isfile(path):
        raise OSError("no such scheduler file, nor an address such as tcp://host:8786")
    return path


def _own_address(client: Any) -> str:
    """Return the address by which this machine is known where the scheduler is."""
    address = str(client.scheduler.address)
    return "127.0.0.1" if address.startswith("inproc://") else _knock(address)


def _knock(address: str) -> str:
    """See whether anybody answers; returns our own address there. A client would ask for a long time."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), CONNECT_S) as connection:
        return str(connection.getsockname()[0])


class Kind(tuple[tuple[str, float], ...]):
    """What a scheduler is to be asked for beside a place: amounts by their labels."""

    __slots__ = ()

    def __str__(self) -> str:
        return " ".join(f"{name}={amount:g}" for name, amount in self)


def _kind(resources: Mapping[str, float | str]) -> Kind:
    asked = []
    for name, amount in sorted(resources.items()):
        if name in _NOT_ASKED:
            continue
        if isinstance(amount, str):
            raise CannotStart(f"dask knows resources by their amounts only, not {name}={amount}")
        if amount:
            asked.append((name, float(amount)))
    return Kind(asked)
