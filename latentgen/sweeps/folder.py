"""A sweep's folder: what was asked for, its members, and where each of them stands.

sweep.json      what was asked for, the base config, versions, the commit
manifest.jsonl  a line a member: its name, its setting, its seed, what it changes
populations.json  which members one program trains, where one trains several
src/HASH/       the source that started members import: editing it later touches none of them
runs/NAME/      each a run's folder like any other
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
SILENT = 1_800.0  # seconds after which a run on another machine is taken for dead
ENDED = (status.DONE, status.DIVERGED, status.FAILED)


class Standing(NamedTuple):
    """A member's status, one of those in `status`, and the reason for it."""

    status: str
    reason: str | None


class Sweep(NamedTuple):
    """A sweep in its folder.

    said: what sweep.json holds
    """

    folder: Path
    said: Mapping[str, Any]
    members: tuple[Member, ...]

    def place(self, run: str) -> Path:
        """The folder of the member of this name."""
        return self.folder / RUNS / run


def open_(folder: Path, base: Mapping[str, Any], members: Sequence[Member], command: str) -> Sweep:
    """The sweep in this folder: a new one, or the one that is there with what is new in `members`.

    Raises:
        BadInput: the folder holds a sweep with members that `members` lacks, or of another config.
    """
    before = load(folder) if (folder / SWEEP).exists() else None
    if before is not None:
        if changed := workdir.differences(before.said["config"], base):
            raise BadInput(
                f"workdir={str(folder)!r} holds a sweep of another config: {'; '.join(changed)}. "
                "Name another workdir."
            )
        asked = {member.run for member in members}
        if lost := [member.run for member in before.members if member.run not in asked]:
            raise BadInput(
                f"workdir={str(folder)!r} holds another sweep: {len(lost)} of its "
                f"{len(before.members)} runs are not in this one, such as {lost[0]!r}. Name "
                "another workdir."
            )
    workdir.prepare(folder / RUNS)
    if before is None:
        said = {"config": dict(base), "command": command, **_origin()}
        # Whole, over what a killed launcher may have left, and before there is a sweep.
        workdir.write_lines(folder / MANIFEST, map(_line, members))
        workdir.write_json(folder / SWEEP, said)
        return Sweep(folder, said, tuple(members))
    known = {member.run for member in before.members}
    for member in members:
        if member.run not in known:
            workdir.append_json(folder / MANIFEST, _line(member))
    return Sweep(folder, before.said, tuple(members))


def _line(member: Member) -> dict[str, Any]:
    """Return a line of the manifest: all but the config, which follows from the sweep's."""
    return {name: getattr(member, name) for name in Member._fields if name != "config"}


def load(folder: Path) -> Sweep:
    """The sweep that a folder holds.

    Raises:
        BadInput: it holds none, or one that cannot be read.
    """
    try:
        said = workdir.read_json(folder / SWEEP)
        *lines, _torn = workdir.read_text(folder / MANIFEST).split("\n")
        found = [_member(said["config"], workdir.parsed(line)) for line in lines]
        members = list({member.run: member for member in found}.values())
    except FileNotFoundError:
        raise BadInput(f"workdir={str(folder)!r} holds no sweep.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"the sweep in {str(folder)!r} cannot be read: {error}.") from None
    for member in members:
        if not workdir.leads_into(folder / RUNS / member.run, folder):
            raise BadInput(f"the sweep in {str(folder)!r} leads out of it: {RUNS}/{member.run}.")
        plugins.check_outside(member.config, folder)
    return Sweep(folder, said, tuple(members))


def _member(base: Mapping[str, Any], line: Mapping[str, Any]) -> Member:
    """The member of a line of the manifest.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is no such line.
    """
    seed, changes = line["seed"], dict(line["changes"])
    for name in ("run", "setting"):
        if not is_name(line[name]):
            raise ValueError(f"{name}={line[name]!r} is no name of a folder")
    if not isinstance(seed, int):
        raise ValueError(f"seed={seed!r} is no whole number")
    flatten(base)
    return Member(**line, config=plan.applied(base, {**changes, "seed": seed}))


def is_name(word: Any) -> bool:
    """Return whether `word` names an entry of a folder, not a path that leads elsewhere."""
    return isinstance(word, str) and word not in ("", ".", "..") and not {"/", "\0"} & set(word)


def _origin() -> dict[str, Any]:
    return {"commit": commit(), "versions": provenance.versions()}


def commit() -> str | None:
    """The commit of the source, with '+' where files differ from it; None outside a checkout."""
    root = Path(latentgen.__file__).parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "latentgen") else "")
    except (OSError, subprocess.SubprocessError):
        return None


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other launchers out.

    Raises:
        BadInput: one is in.
    """
    workdir.own(workdir.prepare(folder), depth=2)
    with workdir.lock(folder):
        yield


def standing(place: Path) -> Standing:
    """Return the status of the member with this folder, and the reason for it."""
    found = status.read(place)
    if setup.summary(place) is not None:
        return Standing(status.DONE, None)
    if found is None:
        return Standing(status.PENDING, None)
    if found.status == status.RUNNING and not _alive(place, found):
        return Standing(status.PREEMPTED, status.LOST)
    return Standing(found.status, found.reason)


def _alive(place: Path, found: status.Status) -> bool:
    """Return whether a run is alive: by its lock on this machine, by its last beat on another."""
    if found.host == socket.gethostname():
        return in_use(place)
    return time.time() - found.beat < SILENT


def in_use(place: Path) -> bool:
    """Return whether a process of this machine holds the run's folder."""
    try:
        with workdir.opened(place / "lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, workdir.Unsafe):  # what no run has made, none holds
        return False
    except BlockingIOError:
        return True
    return False


def unfinished(sweep: Sweep, retry: Sequence[str]) -> list[Member]:
    """The members to train, in order: those that have not ended, and those that ended so."""
    return [
        member
        for member in sweep.members
        if (now := standing(sweep.place(member.run)).status) not in ENDED or now in retry
    ]


def forget(place: Path) -> None:
    """Take away what says that a run failed or diverged, so that it may be tried again."""
    for name in (status.STATUS, evidence.DIVERGED):
        (place / name).unlink(missing_ok=True)


def _same(place: Path, files: Mapping[str, Path]) -> bool:
    """Return whether the copy holds exactly these files; delete its compiled ones first."""
    known = {place / path: file for path, file in files.items()}
    for compiled in list(
        place.rglob("__pycache__")
    ):  # Python would run it for the source beside it
        shutil.rmtree(compiled, ignore_errors=True)
    there = {p for p in place.rglob("*") if not p.is_dir()}
    if any(p.is_symlink() or not p.is_file() for p in there):
        return False
    return there == set(known) and all(
        copy.read_bytes() == file.read_bytes() for copy, file in known.items()
    )


def _sources(modules: Sequence[str]) -> dict[str, Path]:
    """Path in a snapshot -> file, of this package and of the packages of these modules."""
    package = Path(latentgen.__file__).parent
    files = sorted(p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    found = {str(Path("latentgen", file.relative_to(package))): file for file in files}
    for module in modules:
        found |= plugins.files(module)
    return found


def snapshot(folder: Path, modules: Sequence[str] = ()) -> Path:
    """A copy of this package in the sweep's folder, the same one for the same source.

    Args:
        modules: the user's own, which are copied too, see `plugins`.
    """
    files = _sources(modules)
    digest = hashlib.sha256()
    for path, file in files.items():
        digest.update(path.removeprefix("latentgen/").encode() + b"\0" + file.read_bytes())
    place = folder / SOURCE / digest.hexdigest()[:16]
    workdir.own(folder / SOURCE)
    if not _same(place, files):  # it may be anybody's
        shutil.rmtree(place, ignore_errors=True)
        half = place.with_name(f".{place.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        for path, file in files.items():
            to = half / path
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, to)
        half.rename(place)
    return place


def modules_of(sweep: Sweep) -> list[str]:
    """The modules of the user's own that runs of the sweep name."""
    found = [name for member in sweep.members for name in plugins.names(member.config)]
    return list(dict.fromkeys(found))
