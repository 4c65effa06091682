"""The memory of this machine, or of the container or job that this process runs in."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil


class Memory(NamedTuple):
    """Bytes that there are, and bytes of them that are free or can be freed at once."""

    total: int
    available: int


class Names(NamedTuple):
    """Names in a folder of Linux's control groups: files with limit and usage, and the line of
    memory.stat with the cached files that make room for anything else.
    """

    limit: str
    usage: str
    cached: str


NAMES = {
    "cgroup": Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "cgroup2": Names("memory.max", "memory.current", "inactive_file"),
}
"""By the type of file system that the folder is of: version 1 or 2."""

NO_LIMIT = Memory(2**63, 2**63)


def memory(root: Path = Path("/")) -> Memory:
    """The memory of the machine, or less where a control group of this process allows less.

    Args:
        root: the folder that holds proc and sys.
    """
    found = [_whole(), *(_group(*place) for place in _groups(root))]
    total = min(each.total for each in found)
    return Memory(total, max(0, min(total, *(each.available for each in found))))


def _whole() -> Memory:
    try:
        found = psutil.virtual_memory()
    except OSError:  # Linux without /proc
        page = os.sysconf("SC_PAGE_SIZE")
        names = ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
        return Memory(*(page * os.sysconf(name) for name in names))
    return Memory(found.total, found.available)


def _groups(root: Path) -> Iterator[tuple[Path, Names]]:
    """The folder of each control group of memory that this process is in, its own and all above.

    /proc/self/mountinfo says where each hierarchy is mounted, and from which of its groups on: a
    container may see nothing above its own.
    """
    own = dict(_own(_lines(root / "proc/self/cgroup")))
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = (part.split() for part in line.partition(" - "))
        if len(before) < 5 or len(after) < 3 or after[0] not in own:
            continue
        kind, top, place = after[0], Path(before[3]), root / before[4].lstrip("/")
        if kind == "cgroup" and "memory" not in after[2].split(","):
            continue
        path = Path(own[kind])
        inside = path.relative_to(top) if path.is_relative_to(top) else Path()
        for folder in (inside, *inside.parents):
            yield place / folder, NAMES[kind]


def _own(lines: list[str]) -> Iterator[tuple[str, str]]:
    """(type of file system, path of this process's group) of each hierarchy that knows memory."""
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if "memory" in controllers.split(","):
            yield "cgroup", path
        elif line.startswith("0::"):
            yield "cgroup2", path


def _group(folder: Path, names: Names) -> Memory:
    """The memory that a group allows and what is left of it."""
    limit = _number(_lines(folder / names.limit))
    if limit is None:
        return NO_LIMIT
    used = _number(_lines(folder / names.usage)) or 0
    stat = dict(line.partition(" ")[::2] for line in _lines(folder / "memory.stat"))
    cached = _number([stat.get(names.cached, "")]) or 0
    return Memory(limit, limit - used + cached)


def _number(lines: list[str]) -> int | None:
    """The number that a file holds; None for 'max', anything else, or no file."""
    text = "".join(lines).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
