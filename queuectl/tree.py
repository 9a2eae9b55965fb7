"""The tree of a spool: making it, opening it, and the files in it that are not jobs (docs/spool.md, "Layout").

Together with spool.py, which builds the transitions of jobs on it, this is the only place that renames, unlinks or
links. It knows no time, no settings and no processes. Opening checks the marker, so that an unmounted disk never looks
like an empty queue.
"""

from __future__ import annotations

import errno
import os

from queuectl import disk
from queuectl.disk import Directory
from queuectl.errors import NotFound, Refused, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:  # an enqueue imports this module, and should import little else
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Self

FORMAT = 1
FEW, MANY = 8, 10_000  # new files: up to so many each is synced by itself; beyond so many syncing begins early
MARKER = "queuectl.json"
CONFIG = "config.toml"
PAUSED = "paused"
TOKEN = "dashboard.token"
MIN_TOKEN = 16
DIRECTORIES = (
    *("pending", "processing", "completed", "failed", "dead"),
    *("tmp", "rejected", "logs", "workers", "cancel"),
)


class Opened(dict[str, Directory]):
    """The directories of a spool by name, each opened when it is first asked for."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def __missing__(self, name: str) -> Directory:
        try:
            found = self[name] = Directory(f"{self._place}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(
                f"{self._place}/{name}: this directory of the spool is missing",
                hint=f"queuectl init {quoted(self._place)}",
            ) from None
        return found


class Tree:
    """An open spool's directories. Not for use by several threads; a forked child may go on using it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the spool at `path`; raises `NotFound` when there is none, `Refused` when its format is newer."""
        self.place = os.path.abspath(path)
        self._path: Path | None = None
        self.uuid = self._read_marker()
        self.root = Directory(self.place)
        self.directories = Opened(self.place)
        self._serial = 0
        self._token = 0, ""

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Self:
        """Make a spool at `path`, or complete and open the one that is there."""
        from pathlib import Path

        root = Path(os.path.abspath(path))
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (root / MARKER).exists():
            root.chmod(0o700)  # it may have come with an archive or a checkout, open to others
        for name in DIRECTORIES:
            (root / name).mkdir(mode=0o700, exist_ok=True)
        if not (root / MARKER).exists():
            draft = root / "tmp" / f"{MARKER}.{os.getpid()}.{os.urandom(4).hex()}"
            tmp = Directory(str(root / "tmp"))
            tmp.write_new(draft.name, _marker(), durable=True)
            try:
                os.link(draft, root / MARKER)  # RACE: the first of two makers wins, the other takes its marker
            except FileExistsError:
                pass
            finally:
                os.unlink(draft)
            for directory in (Directory(str(root)), Directory(str(root.parent))):
                directory.sync()  # or a job that is acknowledged could be in a spool that a power cut takes away
        return cls(root)

    @property
    def path(self) -> Path:
        """The spool's absolute path."""
        if self._path is None:
            from pathlib import Path

            self._path = Path(self.place)
        return self._path

    def _read_marker(self) -> str:
        try:
            with open(f"{self.place}/{MARKER}", "rb") as file:
                data = file.read()
            uuid = data.removeprefix(_MARKER_BEGINS).removesuffix(_MARKER_ENDS)
            if len(uuid) == len(data) - len(_MARKER_BEGINS + _MARKER_ENDS) and uuid.isalnum():
                return uuid.decode()  # as we write it
            return self._parse_marker(data)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(
                f"{self.place}: no spool here (it has no {MARKER})", hint=f"queuectl init {quoted(self.place)}"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise Refused(f"{self.place}/{MARKER}: not readable as a spool's marker") from None

    def _parse_marker(self, data: bytes) -> str:
        import json

        marker = json.loads(data)
        version, uuid = int(marker["format"]), str(marker["uuid"])
        if version > FORMAT:
            raise Refused(f"{self.place}: format {version} is newer than this queuectl reads ({FORMAT})")
        return uuid

    def close(self) -> None:
        """Give all descriptors back."""
        for directory in [self.root, *self.directories.values()]:
            directory.close()
        self.directories.clear()

    def still_there(self) -> bool:
        """Say whether the paths of the spool and its directories still mean what was opened."""
        try:
            return all(
                os.path.samestat(os.stat(directory.path), os.fstat(directory.fd))
                for directory in (self.root, *self.directories.values())
            )
        except OSError:
            return False

    def deleted(self) -> bool:
        """Say whether a directory that was opened has been deleted, so that nothing can be written to it ever again."""
        return any(os.fstat(directory.fd).st_nlink == 0 for directory in self.directories.values())

    def draft_name(self, stamp: str) -> str:
        """Return a new name for a file that is being written in tmp/."""
        self._serial += 1
        pid = os.getpid()
        if pid != self._token[0]:  # not in a forked child either may two have one name
            self._token = pid, os.urandom(4).hex()
        return f"{stamp}.{pid}.{self._token[1]}{self._serial:x}"

    def publish(self, draft: str, place: str, name: str) -> None:
        """Give a draft its name in a directory that holds no jobs."""
        os.rename(draft, name, src_dir_fd=self.directories["tmp"].fd, dst_dir_fd=self.directories[place].fd)

    def put_in(self, files: Sequence[tuple[str, bytes]], stamp: str, *, durable: bool = True) -> None:
        """Put new files, by name and bytes, into `pending/`: all are written first, then all get their names.

        Raises OSError when one cannot be written; then none has been queued.
        """
        pending, tmp = self.directories["pending"], self.directories["tmp"]
        drafts: list[str] = []
        queued = 0
        try:
            self._write_drafts(files, stamp, drafts, durable=durable)
            # CRASH: what has been renamed is queued, the rest is left in tmp/ and swept; enqueue has not said yes.
            for draft, (target, _) in zip(drafts, files, strict=True):
                os.rename(draft, target, src_dir_fd=tmp.fd, dst_dir_fd=pending.fd)
                queued += 1
        except BaseException:
            self.discard(drafts[queued:])
            raise
        if durable:
            pending.sync()
            if len(files) > FEW:
                tmp.sync()

    def _write_drafts(
        self, files: Sequence[tuple[str, bytes]], stamp: str, drafts: list[str], *, durable: bool
    ) -> None:
        """Write each file's bytes to a draft in tmp/ and add its name to `drafts`; then all of them are durable."""
        tmp = self.directories["tmp"]
        at_once = durable and len(files) > FEW and disk.can_sync_file_system()
        early = disk.EarlySync(tmp) if at_once and len(files) > MANY else None
        try:
            for _, data in files:
                drafts.append(self.draft_name(stamp))
                tmp.write_new(drafts[-1], data, durable=durable and not at_once)
        finally:
            if early:
                early.end()
        if at_once:
            disk.sync_file_system(tmp)

    def discard(self, drafts: Iterable[str]) -> None:
        """Delete drafts of ours."""
        for draft in drafts:
            self.unlink("tmp", draft)

    def unlink(self, place: str, name: str) -> bool:
        """Delete a file that is no job: one of tmp/, logs/, workers/, cancel/, or of the root; False when gone."""
        directory = self.root if place == "." else self.directories[place]
        try:
            os.unlink(name, dir_fd=directory.fd)
        except FileNotFoundError:
            return False
        return True

    def probe(self, stamp: str) -> None:
        """Rename a file through all directories; raises `Refused` when two of them are not on one file system."""
        name, place = self.draft_name(stamp), "tmp"
        self.directories[place].write_new(name, b"", durable=False)
        hidden = f".{name}"
        try:
            for target in (*DIRECTORIES, "tmp"):
                source = name if place == "tmp" else hidden
                final = name if target == "tmp" else hidden
                here, there = self.directories[place], self.directories[target]
                os.rename(source, final, src_dir_fd=here.fd, dst_dir_fd=there.fd)
                place = target
        except OSError as error:
            self.unlink(place, name if place == "tmp" else hidden)
            if error.errno != errno.EXDEV:
                raise
            raise Refused(
                f"{self.path / target}: not on one file system with {place}/, so jobs cannot be renamed into it"
            ) from None
        self.unlink("tmp", name)

    def open_lock(self) -> int:
        """Open the lock file of the ids."""
        return os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self.root.fd)

    # The files of the root.

    def config_text(self) -> str:
        """Return the text of config.toml, empty when there is none; raises `Refused` when it is not UTF-8."""
        try:
            return (self.path / CONFIG).read_bytes().decode()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise Refused(f"{self.path / CONFIG}: not UTF-8") from None

    def write_config(self, text: str, stamp: str) -> None:
        """Replace config.toml as a whole."""
        tmp, draft = self.directories["tmp"], self.draft_name(stamp)
        try:
            tmp.write_new(draft, text.encode(), durable=True)
            os.rename(draft, CONFIG, src_dir_fd=tmp.fd, dst_dir_fd=self.root.fd)
        except BaseException:
            self.discard([draft])
            raise
        self.root.sync()

    def paused(self) -> bool:
        """Say whether the queue is paused."""
        return os.access(PAUSED, os.F_OK, dir_fd=self.root.fd)

    def pause(self) -> None:
        """Let workers claim nothing until `resume`."""
        try:
            self.root.write_new(PAUSED, b"", durable=False)
        except FileExistsError:
            return
        self.root.sync()

    def resume(self) -> bool:
        """Let workers claim again; False when the queue was not paused."""
        found = self.unlink(".", PAUSED)
        self.root.sync()
        return found

    def token(self) -> tuple[str, bool]:
        """Return the secret of the HTTP door, made when there is none, and whether it was; only the owner reads it."""
        try:
            self.root.write_new(TOKEN, os.urandom(24).hex().encode() + b"\n", durable=True)
            made = True
        except FileExistsError:
            made = False
        text = (self.path / TOKEN).read_text("ascii", "replace").strip()
        if len(text) < MIN_TOKEN or (self.path / TOKEN).stat().st_mode & 0o077:
            raise Refused(
                f"{self.path / TOKEN}: shorter than {MIN_TOKEN} characters, or open to others",
                hint=f"rm {quoted(self.path / TOKEN)}, and the next start makes a new one",
            )
        return text, made

    # Asking a worker to end the job that it runs: a file in cancel/ named as the job's id, a hint that moves nothing.

    def request_cancel(self, id: str) -> None:
        """Ask the worker that runs this job to end it."""
        try:
            self.directories["cancel"].write_new(id, b"", durable=False)
        except FileExistsError:
            return

    def cancel_requests(self) -> Iterator[str]:
        """Yield the ids of the running jobs that are to be ended."""
        return self.directories["cancel"].names()


_MARKER_BEGINS, _MARKER_ENDS = f'{{"format":{FORMAT},"uuid":"'.encode(), b'"}\n'


def _marker() -> bytes:
    return _MARKER_BEGINS + os.urandom(16).hex().encode() + _MARKER_ENDS
