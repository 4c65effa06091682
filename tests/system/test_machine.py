"""The memory that there is: on any system, and in a container that may have less."""

from pathlib import Path

import psutil
import pytest

from latentgen.sweeps.engines import vmap
from latentgen.system import compilation, machine, memory
from latentgen.system.machine import Memory

MIB = 2**20
V1 = {
    "limit": "memory.limit_in_bytes",
    "usage": "memory.usage_in_bytes",
    "cached": "total_inactive_file",
}
V2 = {"limit": "memory.max", "usage": "memory.current", "cached": "inactive_file"}
FILES = {
    1: ("4:cpu,memory:", "sys/fs/cgroup/memory", "cgroup cgroup rw,memory", V1),
    2: ("0::", "sys/fs/cgroup", "cgroup2 cgroup rw", V2),
}


def tree(
    root: Path, version: int, own: str, groups: dict[str, dict[str, str | int]], top: str = "/"
) -> Path:
    """A machine whose process is in the group `own`; `groups` says what their files hold."""
    word, mount, kind, names = FILES[version]
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"2:cpuacct:/x\nnonsense\n{word}{own}\n")
    lines = (
        "22 1 0:5 / /proc rw - proc proc rw",
        "31 23 0:28 / /sys/fs/cgroup/cpu rw shared:4 - cgroup cgroup rw,cpu",
        f"32 23 0:29 {top} /{mount} rw,relatime shared:5 - {kind}",
        "and a line that means nothing",
    )
    (root / "proc/self/mountinfo").write_text("\n".join(lines))
    for group, holds in groups.items():
        folder = root / mount / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in holds.items():
            line = (
                f"anon 7\n{names[name]} {value}\nodd\nodder \n"
                if name == "cached"
                else f"{value}\n"
            )
            (folder / ("memory.stat" if name == "cached" else names[name])).write_text(line)
    return root


@pytest.fixture(autouse=True)
def _machine_of_a_gibibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    found = type("virtual_memory", (), {"total": 1024 * MIB, "available": 512 * MIB})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: found)


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_limit_counts_wherever_it_is(tmp_path: Path, version: int) -> None:
    no_limit = {1: 2**63 - 4096, 2: "max"}[version]
    groups = {
        "": {"limit": no_limit},
        "job": {"limit": 100 * MIB, "usage": 30 * MIB, "cached": 20 * MIB},
        "job/step": {"limit": 200 * MIB, "usage": 150 * MIB},
        "job/step/task": {"limit": no_limit, "usage": 10 * MIB},
        "other": {"limit": MIB, "usage": 0},
    }
    root = tree(tmp_path, version, "/job/step/task", groups)
    assert machine.memory(root) == Memory(100 * MIB, 50 * MIB)  # of `job`; what `step` has left


@pytest.mark.parametrize("version", [1, 2])
def test_cached_files_make_room(tmp_path: Path, version: int) -> None:
    full = {"limit": 100 * MIB, "usage": 100 * MIB, "cached": 60 * MIB}
    assert machine.memory(tree(tmp_path, version, "/job", {"job": full})).available == 60 * MIB


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("own", "top"),
    [("/docker/abc/inner", "/docker/abc"), ("/docker/abc", "/docker/abc"), ("/docker/abc", "/"),
     ("/", "/.."), ("/../abc", "/"), ("", "/")],
)  # fmt: skip
def test_a_container_sees_its_own_groups_only(
    tmp_path: Path, version: int, own: str, top: str
) -> None:
    groups = {"": {"limit": 100 * MIB, "usage": 40 * MIB}, "inner": {"limit": 300 * MIB}}
    assert machine.memory(tree(tmp_path, version, own, groups, top)) == Memory(100 * MIB, 60 * MIB)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "limit", ["max", "", "none", "-1", "1e9", "\0", "९", 2**63 - 4096, 2**80, "9" * 5_000]
)
def test_what_is_no_limit_limits_nothing(tmp_path: Path, version: int, limit: str | int) -> None:
    root = tree(tmp_path, version, "/job", {"job": {"limit": limit, "usage": 5}})
    assert machine.memory(root) == Memory(1024 * MIB, 512 * MIB)


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    groups = {"job": {"limit": 10 * MIB, "usage": 11 * MIB}}
    assert machine.memory(tree(tmp_path, 2, "/job", groups)) == Memory(10 * MIB, 0)


def test_a_system_without_proc_and_sys_has_memory(tmp_path: Path) -> None:
    assert machine.memory(tmp_path / "nothing") == Memory(1024 * MIB, 512 * MIB)


def test_linux_without_proc_has_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden() -> None:
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", hidden)
    found = machine.memory(tmp_path)
    assert found.total > found.available > 0


def test_runs_and_populations_go_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory", lambda: Memory(300, 100))
    assert memory.device_memory() == 300
    assert vmap.available() == 50


def test_programs_are_kept_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(path: Path, *args: object, **more: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", hidden)
    assert isinstance(compilation.processor(), str)
