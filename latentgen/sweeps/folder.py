"""The folder of a sweep: its description, its members, and the status of each.

sweep.json        the command, the base config, versions, the commit
manifest.jsonl    a line for each member: its name, setting, seed and changes of the config
populations.json  the members that are trained together in one program
src/HASH/         a copy of the source that members import, so that later edits do not affect them
runs/NAME/        the workdir of each run
"""

import contextlib
import fcntl
import hashlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import latentgen
from latentgen.core.errors import BadInput
from latentgen.storage import evidence, provenance, status, workdir
from latentgen.storage.workdir import flatten
from latentgen.sweeps import plan
from latentgen.sweeps.plan import Member
from latentgen.system import plugins
from latentgen.training import setup

SWEEP, MANIFEST, POPULATIONS = "sweep.json", "manifest.jsonl", "populations.json"
RUNS, SOURCE, LOG = "runs", "src", "log.txt"
SILENT = 1_800.0  # seconds without a heartbeat after which a remote run is considered dead
ENDED = (status.DONE, status.DIVERGED, status.FAILED)


class Standing(NamedTuple):
    """A member's status, one of those in `storage.status`, and the reason for it."""

    status: str
    reason: str | None


class Sweep(NamedTuple):
    """A sweep in its folder.

    record: the content of sweep.json
    """

    folder: Path
    record: Mapping[str, Any]
    members: tuple[Member, ...]

    def run_folder(self, run: str) -> Path:
        """Return the folder of the member of this name."""
        return self.folder / RUNS / run


def open_(folder: Path, base: Mapping[str, Any], members: Sequence[Member], command: str) -> Sweep:
    """Create the sweep in this folder, or open it and add new members.

    Raises:
        BadInput: the folder holds a sweep of another config, or one with members not in `members`.
    """
    before = load(folder) if (folder / SWEEP).exists() else None
    if before is not None:
        if changed := workdir.differences(before.record["config"], base):
            raise BadInput(
                f"workdir={str(folder)!r} holds a sweep of another config: {'; '.join(changed)}. "
                "Name another workdir."
            )
        asked = {member.run for member in members}
        if missing := [member.run for member in before.members if member.run not in asked]:
            raise BadInput(
                f"workdir={str(folder)!r} holds another sweep: {len(missing)} of its "
                f"{len(before.members)} runs are not in this one, such as {missing[0]!r}. Name "
                "another workdir."
            )
    workdir.prepare(folder / RUNS)
    if before is None:
        description = {"config": dict(base), "command": command, **_provenance()}
        # Replaces the manifest of a killed launcher; sweep.json comes last.
        workdir.write_lines(folder / MANIFEST, map(_manifest_line, members))
        workdir.write_json(folder / SWEEP, description)
        return Sweep(folder, description, tuple(members))
    known = {member.run for member in before.members}
    for member in members:
        if member.run not in known:
            workdir.append_json(folder / MANIFEST, _manifest_line(member))
    return Sweep(folder, before.record, tuple(members))


def _manifest_line(member: Member) -> dict[str, Any]:
    """Return a member's line of the manifest, without the config, which can be derived."""
    return {name: getattr(member, name) for name in Member._fields if name != "config"}


def load(folder: Path) -> Sweep:
    """Load the sweep in a folder.

    Raises:
        BadInput: there is no sweep, or it cannot be read.
    """
    try:
        description = workdir.read_json(folder / SWEEP)
        *lines, _incomplete = workdir.read_text(folder / MANIFEST).split("\n")
        found = [_member(description["config"], workdir.parsed(line)) for line in lines]
        members = list({member.run: member for member in found}.values())
    except FileNotFoundError:
        raise BadInput(f"workdir={str(folder)!r} holds no sweep.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"the sweep in {str(folder)!r} cannot be read: {error}.") from None
    for member in members:
        if not workdir.leads_into(folder / RUNS / member.run, folder):
            raise BadInput(f"the sweep in {str(folder)!r} leads out of it: {RUNS}/{member.run}.")
        plugins.check_outside(member.config, folder)
    return Sweep(folder, description, tuple(members))


def _member(base: Mapping[str, Any], line: Mapping[str, Any]) -> Member:
    """Make the member of a line of the manifest.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the line is not valid.
    """
    seed, changes = line["seed"], dict(line["changes"])
    for name in ("run", "setting"):
        if not is_name(line[name]):
            raise ValueError(f"{name}={line[name]!r} is no name of a folder")
    if not isinstance(seed, int):
        raise ValueError(f"seed={seed!r} is no whole number")
    flatten(base)
    return Member(**line, config=plan.applied(base, {**changes, "seed": seed}))


def is_name(name: Any) -> bool:
    """Return whether `name` is a valid file name, not a path."""
    return isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\0"} & set(name)


def _provenance() -> dict[str, Any]:
    return {"commit": commit(), "versions": provenance.versions()}


def commit() -> str | None:
    """Return the source's commit, with '+' if files differ from it; None outside a checkout."""
    root = Path(latentgen.__file__).parents[1]

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "latentgen") else "")
    except (OSError, subprocess.SubprocessError):
        return None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the sweep's folder against other launchers.

    Raises:
        BadInput: another launcher holds the lock.
    """
    workdir.own(workdir.prepare(folder), depth=2)
    with workdir.lock(folder):
        yield


def standing(run_folder: Path) -> Standing:
    """Return the status of the run in this folder, and the reason for it."""
    found = status.read(run_folder)
    if setup.is_done(run_folder):
        return Standing(status.DONE, None)
    if found is None:
        return Standing(status.PENDING, None)
    if found.status == status.RUNNING and not _is_alive(run_folder, found):
        return Standing(status.PREEMPTED, status.LOST)
    return Standing(found.status, found.reason)


def _is_alive(run_folder: Path, found: status.Status) -> bool:
    """Return whether a run is alive: by its lock if local, by its last heartbeat if remote."""
    if found.host == socket.gethostname():
        return in_use(run_folder)
    return time.time() - found.beat < SILENT


def in_use(run_folder: Path) -> bool:
    """Return whether a process of this machine holds the lock of the run's folder."""
    try:
        with workdir.opened(run_folder / "lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, workdir.Unsafe):  # there is no lock of a run
        return False
    except BlockingIOError:
        return True
    return False


def unfinished(sweep: Sweep, retry: Sequence[str]) -> list[Member]:
    """Return the members to train, in order.

    Args:
        retry: statuses of ended members that are to be trained again.
    """
    return [
        member
        for member in sweep.members
        if (current := standing(sweep.run_folder(member.run)).status) not in ENDED
        or current in retry
    ]


def forget(copy: Path) -> None:
    """Remove the status of a run that failed or diverged, so that it can be trained again."""
    for name in (status.STATUS, evidence.DIVERGED):
        (copy / name).unlink(missing_ok=True)


def _is_copy(copy: Path, files: Mapping[str, Path]) -> bool:
    """Delete the copy's compiled files; return whether it holds exactly these files."""
    known = {copy / path: file for path, file in files.items()}
    if any(path.is_symlink() for path in (copy, *copy.rglob("*"))):
        return False
    for compiled in list(copy.rglob("__pycache__")):  # Python would run it for the source beside it
        shutil.rmtree(compiled, ignore_errors=True)
    present = {p for p in copy.rglob("*") if not p.is_dir()}
    if not all(p.is_file() for p in present):
        return False
    return present == set(known) and all(
        path.read_bytes() == file.read_bytes() for path, file in known.items()
    )


def _sources(modules: Sequence[str]) -> dict[str, Path]:
    """Return path in a snapshot -> file, for this package and the packages of these modules."""
    package = Path(latentgen.__file__).parent
    files = sorted(p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    found = {str(Path("latentgen", file.relative_to(package))): file for file in files}
    for module in modules:
        found |= plugins.files(module)
    return found


def snapshot(folder: Path, modules: Sequence[str] = ()) -> Path:
    """Copy this package into the sweep's folder, once for each version of the source.

    Args:
        modules: the user's modules, which are copied as well; see `plugins`.
    """
    files = _sources(modules)
    digest = hashlib.sha256()
    for path, file in files.items():
        digest.update(path.removeprefix("latentgen/").encode() + b"\0" + file.read_bytes())
    copy_folder = folder / SOURCE / digest.hexdigest()[:16]
    workdir.own(folder / SOURCE)
    if not _is_copy(copy_folder, files):  # the folder is not trusted
        shutil.rmtree(copy_folder, ignore_errors=True)
        partial = copy_folder.with_name(f".{copy_folder.name}.half")
        shutil.rmtree(partial, ignore_errors=True)
        for path, file in files.items():
            target = partial / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
        partial.rename(copy_folder)
    return copy_folder


def modules_of(sweep: Sweep) -> list[str]:
    """Return the user's modules that the sweep's configs name."""
    found = [name for member in sweep.members for name in plugins.names(member.config)]
    return list(dict.fromkeys(found))
