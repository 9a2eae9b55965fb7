"""The spool on disk: the directory tree and every transition of a job (docs/spool.md).

A state is a directory and a move is a rename: this is the only module that renames, unlinks or links. It knows no
time, no settings and no processes: instants, limits and durability are arguments. What it guarantees: a job has one
name at every instant, nothing is overwritten, and whoever moves a file holds the lock on the inode that its name means.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable

from msgspec import Struct

from queuectl import clock, disk, job, names
from queuectl.disk import Miss
from queuectl.errors import BadJobFile
from queuectl.job import Job, State
from queuectl.tree import Tree

# A moving job is seen twice in this order, never missed.
READ_ORDER = (State.PENDING, State.FAILED, State.PROCESSING, State.COMPLETED, State.DEAD)
# A job on its way back to an earlier directory, through processing/, is met in the second look at those three.
READ_TWICE = (*READ_ORDER, State.PROCESSING, State.FAILED, State.PENDING)
WAITING = (State.PENDING, State.FAILED)


class Claim(Struct):
    """A job that is ours: its file in `processing/`, and the descriptor whose lock says so."""

    job: Job
    name: str
    fd: int
    opened: os.stat_result  # of the file whose name it is; the decision is another file
    started: bool = False  # its command has been started, so the attempt counts
    decided: bool = False  # the file holds the decision, so that only the move is missing
    moved: str | None = None  # where settling has moved it, while that may not be durable yet
    unsynced: str | None = None  # where it was claimed, while that is not durable

    def close(self) -> None:
        """Give the lock back; a command that inherited it still holds it."""
        os.close(self.fd)


class Spool(Tree):
    """An open spool and the transitions of its jobs."""

    # Putting jobs in.

    def submit(self, jobs: Iterable[Job], *, now: int, durable: bool = True) -> None:
        """Put new jobs, complete with id and due time, into `pending/`: all files first, then all names.

        Raises OSError when one cannot be written; then none has been queued.
        """
        encoded = [(str(waiting_name(new)), job.encode(new)) for new in jobs]
        self.put_in(encoded, clock.stamp(now), durable=durable)

    def admit(self, name: str, target: names.WaitingName) -> bool:
        """Give a drop that the caller has locked and accepted its canonical name; False when the name is taken."""
        pending = self.directories["pending"]
        if pending.lstat(str(target)) is not None:
            return False
        # CRASH: after a power loss it has the one name or the other; the claim, which counts, makes both durable.
        os.rename(name, str(target), src_dir_fd=pending.fd, dst_dir_fd=pending.fd)
        return True

    def lock_ids(self) -> int:
        """Wait for the lock under which asked-for ids are settled; close the descriptor to give it back."""
        fd = self.open_lock()
        try:
            disk.flock_wait(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def taken(self, ids: Collection[str]) -> dict[str, str]:
        """Return those of `ids` that jobs have already, with the state of each; hold `lock_ids` meanwhile."""
        found: dict[str, str] = {}
        for state in READ_TWICE:
            for name in self.directories[state].names():
                id = names.id_part(name)
                if id in ids and id not in found and read_name(state, name):
                    found[id] = state.value
        return found

    def open_log(self, id: str) -> int:
        """Open a job's log for appending (and for reading it back), made when there is none."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(f"{id}.log", flags, 0o600, dir_fd=self.directories["logs"].fd)

    def reject(self, place: str, name: str, why: str, *, now: int, seen: os.stat_result | None = None) -> str | None:
        """Move what is not a job to `rejected/`, bytes untouched, and write `why` beside it in one line.

        The caller holds its lock, unless it is special, and has `seen` what it speaks of. Returns its new name, or None
        when it had gone.
        """
        source, rejected = self.directories[place], self.directories["rejected"]
        target = names.rejected(clock.stamp(now), os.getpid(), name)
        while rejected.lstat(target) or rejected.lstat(target + ".why"):
            now += 1
            target = names.rejected(clock.stamp(now), os.getpid(), name)
        line = " ".join(why.split()).encode("utf-8", "backslashreplace") + b"\n"
        try:
            # CRASH: a reason is left without a file, and the file where it was; better than a file without a reason.
            rejected.write_new(target + ".why", line, durable=False)
            os.rename(name, target, src_dir_fd=source.fd, dst_dir_fd=rejected.fd)
        except OSError as error:
            self.unlink("rejected", target + ".why")
            if isinstance(error, FileNotFoundError):
                return None
            raise
        if seen and not disk.means(rejected.lstat(target), seen) and source.lstat(name) is None:
            # RACE: a foreign mv has put another file under the name meanwhile; it goes back, and is looked at anew.
            # CRASH: it stays in rejected/, with a reason that was another's.
            os.rename(target, name, src_dir_fd=rejected.fd, dst_dir_fd=source.fd)
            self.unlink("rejected", target + ".why")
            return None
        rejected.sync()
        source.sync()
        return target

    # One job at a time.

    def claim(self, place: str, name: str, *, now: int, limit: int, durable: bool) -> Claim | Miss:
        """Take a waiting or ended job for ourselves: lock its file and rename it into `processing/`.

        Raises `BadJobFile` when its bytes are not a job of at most `limit` bytes; it then stays where it is.
        """
        source, processing = self.directories[place], self.directories["processing"]
        fd = source.lock(name)
        if isinstance(fd, Miss):
            return fd
        try:
            opened = os.fstat(fd)
            found = read_job(fd, opened, place, name, limit)
            job.check_room(found)
            target = str(names.RunningName(clock.stamp(now), found.rev + 1, found.id))
            os.rename(name, target, src_dir_fd=source.fd, dst_dir_fd=processing.fd)
            # RACE: a foreign mv may have put another file under the name meanwhile; it is then an orphan of ours.
            if not disk.means(processing.lstat(target), opened):
                raise FileNotFoundError(errno.ENOENT, "lost to a foreign rename", name)
        except FileNotFoundError:
            os.close(fd)
            return Miss.GONE
        except BaseException:
            # CRASH: if the rename was done, the file is an orphan in processing/, and recovery finds it unlocked.
            os.close(fd)
            raise
        claim = Claim(found, target, fd, opened, unsynced=None if durable else place)
        try:
            if durable:
                os.fsync(fd)  # a drop's producer may not have done so; journals commit it with the names in one go
                self._sync_claim(place)
        except BaseException:
            self.unclaim(claim, place, name)
            raise
        return claim

    def unclaim(self, claim: Claim, place: str, name: str) -> None:
        """Release a claimed job that nothing has been done with: it gets back the name that it had, and no attempt."""
        source, processing = self.directories[place], self.directories["processing"]
        try:
            # Decided already, it is finished by recovery; with its name taken by a foreign mv, it is an orphan.
            ours = not claim.decided and disk.means(processing.lstat(claim.name), claim.opened)
            if ours and source.lstat(name) is None:
                os.rename(claim.name, name, src_dir_fd=processing.fd, dst_dir_fd=source.fd)
        finally:
            claim.close()

    def take_orphan(self, name: str, *, limit: int) -> Claim | Miss:
        """Lock a job in `processing/` that nobody holds any more; raises `BadJobFile` as `claim` does."""
        fd = self.directories["processing"].lock(name)
        if isinstance(fd, Miss):
            return fd
        try:
            opened = os.fstat(fd)
            return Claim(read_job(fd, opened, "processing", name, limit), name, fd, opened)
        except BaseException:
            os.close(fd)
            raise

    def settle(self, claim: Claim, *, now: int, durable: bool) -> bool:
        """Write the decision that `claim.job` holds, move the job to where it says, and release it.

        The job's `rev` must be that of its name. Returns False when a foreign mv had taken the job away.
        Raises OSError when the decision cannot be written; the claim then still holds.
        """
        if durable and claim.unsynced:
            self._sync_claim(claim.unsynced)
            claim.unsynced = None
        if claim.moved is None and not self._decide(claim, now, durable=durable):
            claim.close()
            return False
        # CRASH: decided but not moved; recovery sees the revision and finishes the move.
        self._move(claim, durable=durable)
        claim.close()
        return True

    def _sync_claim(self, place: str) -> None:
        """Make a claim durable after all: the job could be back where it was claimed, beside where it is settled."""
        self.directories["processing"].sync()
        self.directories[place].sync()

    def _decide(self, claim: Claim, now: int, *, durable: bool) -> bool:
        """Rename a file with the decision over the job's, and hold its lock from there on."""
        processing, tmp = self.directories["processing"], self.directories["tmp"]
        draft = self.draft_name(clock.stamp(now))
        fd = tmp.create(draft)
        try:
            disk.write(fd, job.encode(claim.job))
            if durable:
                os.fsync(fd)
            disk.flock(fd)  # so that nobody takes the job for an orphan between the decision and the move
            opened = os.fstat(claim.fd) if claim.decided else claim.opened  # decided before, when the move failed
            ours = disk.means(processing.lstat(claim.name), opened)
            if ours:
                os.rename(draft, claim.name, src_dir_fd=tmp.fd, dst_dir_fd=processing.fd)
        except BaseException:
            os.close(fd)
            self.discard([draft])
            raise
        if not ours:
            self.discard([draft])
            os.close(fd)
            return False
        os.close(claim.fd)
        claim.fd, claim.decided = fd, True
        return True

    def _move(self, claim: Claim, *, durable: bool) -> None:
        processing = self.directories["processing"]
        place, target = final_place(claim.job)
        if claim.moved is None:
            try:
                os.rename(claim.name, target, src_dir_fd=processing.fd, dst_dir_fd=self.directories[place].fd)
            except FileNotFoundError:
                return  # RACE: a recovering worker has finished the same move to the same name
            claim.moved = place
        if durable:
            self.directories[place].sync()  # first the new name: between the two there may be both, but never none
            processing.sync()

    def finish_move(self, claim: Claim) -> None:
        """Move a decided orphan to where its JSON says, and release it."""
        try:
            self._move(claim, durable=True)
        finally:
            claim.close()

    def put_back(self, place: str, name: str, ended: Job) -> bool:
        """Give a job that has ended, locked by the caller, the place and name of its JSON; False when that is taken."""
        # CRASH: one rename, so that at no instant may it be taken for lost and run again.
        source, (final, target) = self.directories[place], final_place(ended)
        if self.directories[final].lstat(target) is not None:
            return False
        os.rename(name, target, src_dir_fd=source.fd, dst_dir_fd=self.directories[final].fd)
        self.directories[final].sync()
        source.sync()
        return True

    def remove(self, place: str, name: str) -> bool:
        """Delete a job's file and its log; False when it is gone, busy or not a job's file."""
        directory = self.directories[place]
        fd = directory.lock(name)
        if isinstance(fd, Miss):
            return False
        try:
            os.unlink(name, dir_fd=directory.fd)
        finally:
            os.close(fd)
        if place != "rejected":
            known = read_name(place, name)
            if known:
                self.unlink("logs", f"{known.id}.log")
        return True


def final_place(settled: Job) -> tuple[str, str]:
    """Return the directory and the name that follow from a decided job's JSON alone."""
    if settled.state in WAITING:
        return settled.state, str(waiting_name(settled))
    if settled.state is State.PROCESSING:
        raise BadJobFile("its decision says processing")
    ended = clock.iso_to_stamp(settled.updated_at or clock.iso(0))
    target = str(names.EndedName(ended, settled.exit or str(settled.exit_code or 0), settled.id))
    if not names.is_ended(target):
        raise BadJobFile(f"its decision says that it ended with {settled.exit!r}")
    return settled.state, target


def waiting_name(waiting: Job) -> names.WaitingName:
    """Return the name that a job has in `pending/` or `failed/`."""
    due = clock.iso_to_stamp(waiting.due_at or clock.iso(0))
    return names.WaitingName(due, waiting.level, waiting.id)


def read_name(state: str, name: str) -> names.Name | None:
    """Read a canonical name of a state's directory; None when it is none."""
    if state in WAITING:
        return names.waiting(name)
    return names.running(name) if state == State.PROCESSING else names.ended(name)


def read_job(fd: int, opened: os.stat_result, state: str, name: str, limit: int) -> Job:
    """Read the open file of a job, whose name decides who it is and, while it waits, when and how urgently it is due.

    Raises `BadJobFile` when its bytes are not a job of at most `limit` bytes, or its name is not a job's.
    """
    if opened.st_size > limit:
        raise BadJobFile(f"larger than {limit} bytes")
    found = job.parse(disk.read(fd, limit))
    read = read_name(state, name)
    if read is None:
        raise BadJobFile("its name is not one that queuectl gives")
    found.id = read.id
    if isinstance(read, names.WaitingName):
        found.due_at, found.priority = clock.stamp_to_iso(read.due), read.priority
    if found.created_at is None:  # a drop, which was made when its file was last written
        found.created_at = clock.iso(opened.st_mtime_ns // 1_000_000)
    return found
