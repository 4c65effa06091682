"""A run's folder after a SIGKILL, for each system call that changes it.

The page cache outlives a process: a kill leaves the folder as it was just before the call. So one
run, with a snapshot of its folder before every call, shows them all.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.studies.faults.disk import Disk

Tree = Mapping[str, bytes | None]
"""A folder's content: relative path -> bytes, None for a folder."""


class Crash(NamedTuple):
    """The folder after a kill before call n, or with half of what call n-1 wrote."""

    n: int
    before: str
    half: bool
    tree: Tree


def tree(folder: Path) -> Tree:
    """The content of a folder that nothing changes meanwhile."""
    paths = sorted(folder.rglob("*")) if folder.exists() else []
    return {str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in paths}


def put(content: Tree, folder: Path) -> None:
    """Write this content to a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in content.items():
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)


class Watched:
    """The crashes of a run: see `watching`.

    unseen: changes of the folder that no call accounts for; there must be none.
    """

    def __init__(self, folder: Path):
        self._folder, self._last = folder, ("", "", -1)
        self._now: Tree = {}
        self._known: set[bytes] = set()
        self._contents: dict[bytes, bytes] = {}
        self.calls: list[str] = []
        self.crashes: list[Crash] = []
        self.unseen: list[str] = []

    def __call__(self, n: int, name: str, path: str) -> None:
        """Take a snapshot before call n."""
        kept = self._contents
        now = {k: v if v is None else kept.setdefault(v, v) for k, v in tree(self._folder).items()}
        short = str(Path(path).relative_to(self._folder))
        self._account(now)
        for where, half in self._halves(now):
            self._add(Crash(n, f"half of {where}", True, half))
        self._add(Crash(n, f"{name} {short}", False, now))
        self.calls.append(f"{name} {short}")
        self._last, self._now = (name, short, n), now

    def _account(self, now: Tree) -> None:
        name, place, n = self._last
        changed = [k for k in now.keys() | self._now.keys() if now.get(k, 0) != self._now.get(k, 0)]
        for path in changed:
            inside = path == place or path.startswith(f"{place}/")
            if not inside and not (name.startswith("rename") and path not in now) and place != ".":
                self.unseen.append(f"{path} after call {n}, {name} {place}")

    def _halves(self, now: Tree) -> Iterator[tuple[str, Tree]]:
        name, place, _ = self._last
        old, new = self._now.get(place), now.get(place)
        if not name.lstrip("p").startswith("write") or old is None or new is None:
            return
        if new.startswith(old) and len(new) > len(old) + 1:
            yield f"{name} {place}", {**now, place: new[: (len(old) + len(new)) // 2]}

    def _add(self, crash: Crash) -> None:
        digest = hashlib.sha256()
        for name, data in crash.tree.items():
            part = b"folder" if data is None else hashlib.sha256(data).digest()
            digest.update(name.encode() + b"\0" + part)
        if digest.digest() not in self._known:
            self._known.add(digest.digest())
            self.crashes.append(crash)


@contextlib.contextmanager
def watching(disk: Disk, folder: Path) -> Iterator[Watched]:
    """Take snapshots of the folder within the context."""
    found = Watched(folder)
    disk.watch(folder)
    disk.see(found)
    try:
        yield found
    finally:
        disk.see(None)


def spread(crashes: list[Crash], most: int | None) -> list[Crash]:
    """Select all crashes, or at most `most` of them, evenly spread."""
    if most is None or len(crashes) <= most:
        return crashes
    return [crashes[i * (len(crashes) - 1) // (most - 1)] for i in range(most)]
