"""Main memory of the machine, within the limits of the control groups of this process.

Containers and batch jobs limit memory with Linux control groups (cgroups), version 1 or 2.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil


class Memory(NamedTuple):
    """Main memory in bytes.

    total: size
    available: free, or can be freed at once
    """

    total: int
    available: int


class CgroupFiles(NamedTuple):
    """Names in the folder of a control group.

    limit: file with the memory limit
    usage: file with the memory in use
    cached: line of memory.stat with the cached files, which are evicted when memory runs low
    """

    limit: str
    usage: str
    cached: str


CGROUP_FILES = {
    "cgroup": CgroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "cgroup2": CgroupFiles("memory.max", "memory.current", "inactive_file"),
}
"""File system type, of version 1 or 2 -> names."""

NO_LIMIT = Memory(2**63, 2**63)


def memory(root: Path = Path("/")) -> Memory:
    """Return the memory of the machine, or the least that a control group of this process allows.

    Args:
        root: folder that contains proc and sys.
    """
    limits = [_physical_memory(), *(_cgroup_memory(*group) for group in _cgroups(root))]
    total = min(limit.total for limit in limits)
    return Memory(total, max(0, min(total, *(limit.available for limit in limits))))


def _physical_memory() -> Memory:
    try:
        found = psutil.virtual_memory()
    except OSError:  # Linux without /proc
        page = os.sysconf("SC_PAGE_SIZE")
        names = ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
        return Memory(*(page * os.sysconf(name) for name in names))
    return Memory(found.total, found.available)


def _cgroups(root: Path) -> Iterator[tuple[Path, CgroupFiles]]:
    """Yield the folder of each memory control group of this process, ancestors included.

    /proc/self/mountinfo has the mount point of each hierarchy and the group that is mounted there.
    In a container this may be the container's own group: its ancestors are then not visible.
    """
    own_paths = dict(_own_cgroups(_read_lines(root / "proc/self/cgroup")))
    for line in _read_lines(root / "proc/self/mountinfo"):
        before, _, after = (part.split() for part in line.partition(" - "))
        if len(before) < 5 or len(after) < 3 or after[0] not in own_paths:
            continue
        kind, mounted, mount_point = after[0], Path(before[3]), root / before[4].lstrip("/")
        if kind == "cgroup" and "memory" not in after[2].split(","):
            continue
        own = Path(own_paths[kind])
        relative = own.relative_to(mounted) if own.is_relative_to(mounted) else Path()
        for folder in (relative, *relative.parents):
            yield mount_point / folder, CGROUP_FILES[kind]


def _own_cgroups(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (file system type, path of this process's group) of each hierarchy that has memory.

    Args:
        lines: of /proc/self/cgroup.
    """
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if "memory" in controllers.split(","):
            yield "cgroup", path
        elif line.startswith("0::"):
            yield "cgroup2", path


def _cgroup_memory(folder: Path, names: CgroupFiles) -> Memory:
    """Return a group's memory limit and the part of it that is not in use."""
    limit = _parse_number(_read_lines(folder / names.limit))
    if limit is None:
        return NO_LIMIT
    used = _parse_number(_read_lines(folder / names.usage)) or 0
    stat = dict(line.partition(" ")[::2] for line in _read_lines(folder / "memory.stat"))
    cached = _parse_number([stat.get(names.cached, "")]) or 0
    return Memory(limit, limit - used + cached)


def _parse_number(lines: list[str]) -> int | None:
    """Parse a file of one number; return None for 'max', other text, or an empty file."""
    text = "".join(lines).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _read_lines(path: Path) -> list[str]:
    """Read a file's lines; return no lines if it cannot be read."""
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
