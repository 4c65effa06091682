"""Untrusted workdirs: no command runs code from one, or writes outside of it."""

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import listening
import pytest
from commands import ROOT
from forks import Ended, Job, run
from small import config

from latentgen.core.errors import BadInput
from latentgen.evaluation.measures.results import evaluated
from latentgen.storage import evidence, log, status, workdir
from latentgen.sweeps import folder, results
from latentgen.sweeps.engines import vmap
from latentgen.sweeps.plan import changed
from latentgen.system import distributed
from latentgen.training import setup, trainer
from latentgen.training.run_writer import RunWriter

LINKS = (
    *("samples", "metrics.jsonl", "checkpoints", "config.json", "lock", "status.json"),
    *("tensorboard", "evaluations.jsonl", "evaluations", "diverged", "data.json", "summary.json"),
    *("samples/step_00000040.png", "checkpoints/40", ".status.json.tmp", "of_no_door"),
)
SOCKETS: list[set] = []  # that were listened on, chunk after chunk
MODULES = ("jax", "numpy", "absl", "config", "orbax", "run", "sitecustomize")
DEEP = "[" * 100_000 + "]" * 100_000
DEEP_ENOUGH = '{"a":' * 600 + "1" + "}" * 600


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> setup.Run:
    """A run that has ended well."""
    place, here = tmp_path_factory.mktemp("trained") / "run", os.getpid()
    found = setup.load(place, changed(config(), {}), None, None)
    before, watch = listening.sockets(here), distributed.signals

    @contextlib.contextmanager
    def signals() -> Iterator[Callable[[], None]]:
        yield lambda: SOCKETS.append(listening.sockets(here) - before)

    distributed.signals = signals
    try:
        trainer.train(found)
    finally:
        distributed.signals = watch
    return found


@pytest.fixture
def copy(trained: setup.Run, tmp_path: Path) -> setup.Run:
    """A copy of a run, in another folder."""
    shutil.copytree(trained.folder, tmp_path / "run")
    return trained._replace(folder=tmp_path / "run")


def test_a_run_listens_on_no_port(trained: setup.Run) -> None:
    assert len(SOCKETS) == 4
    assert set().union(*SOCKETS) == set()


def tree(place: Path) -> dict[str, tuple]:
    """Everything in a folder: what it is, when it was written, what is in it."""
    found = {}
    for path in sorted(place.rglob("*")):
        stat = path.lstat()
        inside = os.readlink(path) if path.is_symlink() else None
        inside = path.read_bytes() if path.is_file() and not inside else inside
        found[str(path.relative_to(place))] = (stat.st_mode, stat.st_mtime_ns, inside)
    return found


def moved_out(place: Path, name: str, outside: Path) -> None:
    """Puts a link in the place of an entry, which is outside from now on."""
    outside.mkdir()
    if (place / name).exists():
        shutil.move(place / name, outside / "there")
    else:
        (outside / "there").write_text("precious\n")
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).symlink_to(outside / "there")


@pytest.mark.parametrize("name", LINKS)
def test_a_run_refuses_a_folder_with_a_link_out_of_it(
    copy: setup.Run, tmp_path: Path, name: str
) -> None:
    moved_out(copy.folder, name, tmp_path / "outside")
    before = tree(tmp_path)
    with pytest.raises(BadInput, match=f"'{name}' in it is a link to .*outside/there"):
        with RunWriter(copy):
            pass
    assert tree(tmp_path) == before


def test_a_link_to_nothing_leads_out_too(copy: setup.Run, tmp_path: Path) -> None:
    (copy.folder / "evaluations").symlink_to(tmp_path / "not" / "there")
    with pytest.raises(BadInput, match="'evaluations' in it is a link"):
        workdir.own(copy.folder)
    assert not (tmp_path / "not").exists()


def test_the_folder_itself_or_its_parent_may_be_a_link(copy: setup.Run, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path)
    (tmp_path / "mine").symlink_to("runs/run")
    (copy.folder / "newest").symlink_to("checkpoints/40")  # stays inside
    with RunWriter(copy._replace(folder=tmp_path / "mine")) as record:
        assert record.resume()[0] == 40


@pytest.mark.parametrize(
    "write",
    [
        lambda place: workdir.lock(place / "run").__enter__(),
        lambda place: workdir.append_json(place / "run" / "lock", {}),
    ],
)
def test_a_file_that_is_a_link_is_not_opened(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").write_text("precious\n")
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="it is a link"):
        write(tmp_path)
    assert (tmp_path / "precious").read_text() == "precious\n"


def test_a_half_written_file_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious\n")
    (tmp_path / ".x.json.tmp").symlink_to(tmp_path / "precious")
    workdir.write_json(tmp_path / "x.json", 1)
    assert (tmp_path / "precious").read_text() == "precious\n"
    assert workdir.read_json(tmp_path / "x.json") == 1


ODD = (
    *("null", "3", '"x"', "[]", "[1]", "{}", '{"step": []}', '{"step": "1", "split": 3}', DEEP),
    DEEP_ENOUGH,
    *('{"metric": 1, "values": []}', '{"metric": "is", "values": 3}', "\x80", "{", '{"a": 1}'),
    '{"status": 1, "reason": {}, "attempts": "x", "host": 1, "pid": [], "job": 0, "since": "", '
    '"beat": "now"}',
    '{"first": 1, "last": 0, "tensors": {}}',
    '{"first": 1, "last": 2000000000, "tensors": {"x": {"not_finite": 1, "values": 1}}, '
    '"tensor": "x"}',
    '{"first": 1, "last": 2, "tensors": {"x": 3}, "tensor": "x"}',
    '[{"runs": ["x"], "keys": 3}]',
)


def _unread(place: Path) -> Iterator[Callable[[], object]]:
    yield lambda: status.read(place)
    yield lambda: setup.collapsed(place)
    yield lambda: evidence.diverged(place)
    yield lambda: evidence.skipped(evidence.skips(place))
    yield lambda: setup.config(place)
    yield lambda: setup.reopen(place, None, None)
    yield lambda: log.figures(place / log.METRICS)
    yield lambda: log.Log(place, 1).close()
    yield lambda: evaluated(place)
    yield lambda: folder.load(place)
    yield lambda: folder.standing(place)
    yield lambda: vmap._read_groups(folder.Sweep(place, {}, ()))
    yield lambda: workdir.sign(place, {}, {})


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_files_raise_nothing_but_bad_input(tmp_path: Path, text: str) -> None:
    names = ("config.json", "data.json", "status.json", "collapsed.json", "diverged.json")
    names += ("metrics.jsonl", "skipped.jsonl", "evaluations.jsonl", "sweep.json", "manifest.jsonl")
    for name in (*names, "populations.json"):
        (tmp_path / name).write_text(f"{text}\n", encoding="latin-1")
    for read in _unread(tmp_path):
        with contextlib.suppress(BadInput):
            read()


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", "", "a\x00b", 3, None])
def test_a_member_is_named_like_an_entry_of_the_folder(tmp_path: Path, name: object) -> None:
    (tmp_path / "sweep.json").write_text('{"config": {"seed": 0}}')
    line = {"run": name, "setting": "x", "seed": 0, "changes": {}}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(BadInput, match=f"run={name!r}".replace("\\", "\\\\")):
        folder.load(tmp_path)


def test_a_member_lies_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "sweep" / "runs").mkdir(parents=True)
    (tmp_path / "sweep" / "runs" / "x").symlink_to(tmp_path)
    (tmp_path / "sweep" / "sweep.json").write_text('{"config": {"seed": 0}}')
    line = {"run": "x", "setting": "x", "seed": 0, "changes": {}}
    (tmp_path / "sweep" / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(BadInput, match=r"leads out of it: runs/x\."):
        folder.load(tmp_path / "sweep")


def test_source_in_a_sweep_that_is_not_ours_is_replaced(tmp_path: Path) -> None:
    place = folder.snapshot(tmp_path)
    before = tree(place)
    (place / "latentgen" / "member.py").write_text("raise SystemExit('run')")
    (place / "jax.py").write_text("raise SystemExit('run')")
    assert folder.snapshot(tmp_path) == place
    assert {name: found[2] for name, found in tree(place).items()} == {
        name: found[2] for name, found in before.items()
    }


class Marks:
    """Loaded from a pickle, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def pickles(place: Path, mark: Path) -> None:
    """Replace every file by a pickle, and add .py files beside them."""
    for path in [p for p in place.rglob("*") if p.is_file()]:
        path.write_bytes(pickle.dumps(Marks(mark)))
    modules(place, mark)


def modules(place: Path, mark: Path) -> None:
    """Files that leave a mark when they are imported, named like what a command imports."""
    for name in MODULES:
        (place / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")


def paths(place: Path, mark: Path) -> None:
    """Values that lead elsewhere, a foreign host, pickles where arrays should be."""
    told = workdir.read_json(place / "config.json")
    told["data"]["name"] = f"../../{place.name}"
    told["method"]["name"] = "../../vae"
    workdir.write_json(place / "config.json", told)
    now = workdir.read_json(place / "status.json") | {"host": "../elsewhere", "status": "running"}
    workdir.write_json(place / "status.json", now)
    for path in place.glob("checkpoints/*/state/**/*"):
        if path.is_file():
            path.write_bytes(pickle.dumps(Marks(mark)))


def damaged(place: Path, mark: Path) -> None:
    """A fair run but for its checkpoints, which are pickles."""
    for path in [p for p in (place / "checkpoints").rglob("*") if p.is_file()]:
        path.write_bytes(pickle.dumps(Marks(mark)))
    (place / "evaluations.jsonl").write_text('{"metric": "frechet", "values": {"x": {}}}\n')


def sweeps(place: Path, mark: Path) -> None:
    """A sweep whose members lie elsewhere."""
    workdir.write_json(place / "sweep.json", {"config": workdir.read_json(place / "config.json")})
    for name in ("../x", "/x"):
        line = {"run": name, "setting": "x", "seed": 0, "changes": {"steps": 1}}
        workdir.append_json(place / "manifest.jsonl", line)


def commands(place: Path, out: Path) -> list[Job]:
    """The commands on a workdir, called from within it."""
    at = f"--workdir={place}"
    small = [
        f"--config.{key}={value}"
        for key, value in {"steps": 40, "batch_size": 16, "every.log": 10}.items()
    ]
    return [
        Job(command, tuple(words), str(place))
        for command, *words in (
            ("evaluate", at, "--metrics=terms"),
            ("sample", at, f"--out={out / 'x.png'}"),
            ("report", str(place)),
            ("replay", at),
            ("compare", "--metric=frechet", f"--workdirs={place},{place}"),
            ("invert", at, f"--out={out / 'codes'}", "--num=1", "--steps=1", "--restarts=1"),
            ("export", at, f"--out={out / 'classifier'}"),
            ("sweep", at, "--status"),
            ("worker", at, "--run=../x"),
            ("run", at, f"--config={ROOT}/experiments/gan.py", *small),
        )
    ]


HOSTILE = (pickles, paths, damaged, sweeps)


@pytest.fixture(scope="module")
def called(
    trained: setup.Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, list[Ended]], dict[str, tuple], Path]:
    """(how each command ended at each of the workdirs, the rest before and after, the folder)."""
    base = tmp_path_factory.mktemp("hostile")
    out, rest, work = (base / name for name in ("out", "rest", "work"))
    for each in (out, rest, work):
        each.mkdir()
    (rest / "config.json").write_text("{}")
    (work / "x").mkdir()  # where '../x' leads to
    (work / "x" / "metrics.jsonl").write_text("{}")
    jobs = []
    for make in HOSTILE:
        place = work / make.__name__
        shutil.copytree(trained.folder, place)
        make(place, base / "mark")
        jobs += commands(place, out)
    kept = {name: tree(place) for name, place in (("rest", rest), ("x", work / "x"))}
    found = run(*jobs, HOME=str(rest), TFDS_DATA_DIR=str(rest / "tfds"))
    each = len(found) // len(HOSTILE)
    ended = {make.__name__: found[i * each :][:each] for i, make in enumerate(HOSTILE)}
    now = {name: tree(place) for name, place in (("rest", rest), ("x", work / "x"))}
    return ended, {name: (kept[name], now[name]) for name in kept}, base


@pytest.mark.parametrize("name", [make.__name__ for make in HOSTILE])
def test_every_door_says_one_line_or_gives_a_result(
    called: tuple[dict[str, list[Ended]], dict[str, tuple], Path], name: str
) -> None:
    for job, ended in zip(commands(Path("work"), Path("out")), called[0][name], strict=True):
        assert ended.code in (0, 2, 3, 4), (job.command, ended)
        assert "Traceback" not in ended.err, (job.command, ended.err)
        errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == (ended.code != 0), (job.command, ended)
        assert ended.listens == [], (job.command, ended)


def test_no_door_runs_anything_or_writes_elsewhere(
    called: tuple[dict[str, list[Ended]], dict[str, tuple], Path],
) -> None:
    _, kept, base = called
    assert not (base / "mark").exists()
    for before, after in kept.values():
        assert after == before
    assert {path.name for path in base.iterdir()} == {"out", "rest", "work"}
    made = {make.__name__ for make in HOSTILE} | {"x"}
    assert {path.name for path in (base / "work").iterdir()} == made


def test_modules_beside_a_run_are_not_imported(tmp_path: Path) -> None:
    """But Python itself would import a `latentgen.py` from there without PYTHONSAFEPATH=1."""
    modules(tmp_path, tmp_path / "mark")
    done = subprocess.run(
        [sys.executable, "-m", "latentgen.report", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: workdir='.' holds neither a run")
    assert not (tmp_path / "mark").exists()


def test_results_of_a_sweep_stay_readable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damaged lines of one member are told and left out; all else is in the table."""
    (tmp_path / "sweep.json").write_text('{"config": {"seed": 0}}')
    good = '{"step": 5, "seconds": 1.0, "split": "train", "loss": 7.0}\n'
    for member, text in (("x", f'{{"step": "x"}}\n{good}\0\n'), ("y", good)):
        line = {"run": member, "setting": "x", "seed": 0, "changes": {}}
        with (tmp_path / "manifest.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        (tmp_path / "runs" / member).mkdir(parents=True)
        (tmp_path / "runs" / member / "metrics.jsonl").write_text(text)
        (tmp_path / "runs" / member / "evaluations.jsonl").write_text("[]\n")
    rows = results.write(folder.load(tmp_path))
    assert [row["train/loss"] for row in rows] == [7.0, 7.0]
    said = capsys.readouterr().err
    for words in ("line 1 has no 'step'", "line 3 is not a JSON object", "line 1 is not a JSON"):
        assert words in said
    assert len(said.splitlines()) == 4
    assert (tmp_path / "results.csv").exists()
