"""Files of a workdir or a sweep may be anybody's: pipes, links, bombs where files should be."""

import contextlib
import io
import os
import signal
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.evaluation.measures.results import evaluated
from latentgen.networks import weights
from latentgen.reporting import folders, images
from latentgen.storage import checkpoint, evidence, log, status, workdir
from latentgen.sweeps import folder
from latentgen.sweeps.engines import slurm
from latentgen.sweeps.engines.job import Work
from latentgen.training import setup


@contextlib.contextmanager
def soon(seconds: int = 5) -> Iterator[None]:
    """Inside, waiting for a pipe fails."""

    def late(signum: int, frame: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


NAMES = (
    *("config.json", "data.json", "status.json", "summary.json", "collapsed.json"),
    *("diverged.json", "skipped.jsonl", "metrics.jsonl", "evaluations.jsonl", "lock", "log.txt"),
    *("sweep.json", "manifest.jsonl", "populations.json", "submissions.jsonl", "submit.lock"),
    *("results.csv", ".status.json.tmp", "weights.npz", "picture.png"),
)


def actions(place: Path) -> dict[str, Callable[[], object]]:
    """Everything that opens a file in such a folder."""
    return {
        "status": lambda: status.read(place),
        "collapsed": lambda: setup.collapsed(place),
        "diverged": lambda: evidence.diverged(place),
        "skips": lambda: evidence.skips(place),
        "config": lambda: setup.config(place),
        "finished": lambda: setup.finished(place, {}),
        "figures": lambda: log.figures(place / log.METRICS),
        "log": lambda: log.Log(place, 1).close(),
        "evaluated": lambda: evaluated(place),
        "load": lambda: folder.load(place),
        "standing": lambda: folder.standing(place),
        "in use": lambda: folder.in_use(place),
        "sign": lambda: workdir.sign(place, {}, {}),
        "lock": lambda: workdir.lock(place).__enter__(),
        "append": lambda: workdir.append_json(place / "evaluations.jsonl", {}),
        "write": lambda: workdir.write_json(place / "status.json", {}),
        "blame": lambda: status.blame(place, -9, place / "log.txt"),
        "work": lambda: Work(["true"], place / "log.txt")(),
        "submissions": lambda: slurm._submissions(place),
        "turn": lambda: slurm._submit_lock(place).__enter__(),
        "report": lambda: folders.run(place),
        "results": lambda: folders._results(place / "results.csv", []),
        "weights": lambda: weights.load(place / "weights.npz"),
        "picture": lambda: images.read(place / "picture.png"),
    }


@pytest.mark.parametrize("name", actions(Path()))
def test_no_pipe_is_waited_for(name: str, tmp_path: Path) -> None:
    for each in NAMES:
        os.mkfifo(tmp_path / each)
    with soon(), contextlib.suppress(BadInput, OSError, ValueError):
        actions(tmp_path)[name]()


@pytest.mark.parametrize("name", sorted(set(actions(Path())) - {"weights"}))
def test_no_link_out_is_followed(name: str, tmp_path: Path) -> None:
    """Neither written through, nor read: a report would show what its reader may not publish."""
    outside, place = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    place.mkdir()
    for each in NAMES:
        (outside / each).write_text('{"secret": 1, "step": 1, "seconds": 1, "split": "train"}\n')
        (place / each).symlink_to(outside / each)
    before = {path.name: path.read_text() for path in outside.iterdir()}
    found = None
    with contextlib.suppress(BadInput, OSError, ValueError):
        found = actions(place)[name]()
    assert "secret" not in repr(found)
    assert {path.name: path.read_text() for path in outside.iterdir()} == before


def test_a_link_within_its_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "first.json").write_text("1")
    (tmp_path / "second.json").symlink_to("first.json")
    assert workdir.read_json(tmp_path / "second.json") == 1


@pytest.mark.parametrize("how", ["pipe", "link"])
def test_a_checkpoint_holds_nothing_but_files(how: str, tmp_path: Path) -> None:
    place = tmp_path / "7"
    (place / "state").mkdir(parents=True)
    (place / "record").mkdir()
    (place / "state" / "array").write_text("x")
    checkpoint._write_manifest(place)
    checkpoint._check_files(7, place)
    (place / "state" / "array").unlink()
    if how == "pipe":
        os.mkfifo(place / "state" / "array")
    else:
        (tmp_path / "array").write_text("x")
        (place / "state" / "array").symlink_to(tmp_path / "array")
    with soon(), pytest.raises(checkpoint.Damaged, match="state/array is neither a file nor"):
        checkpoint._check_files(7, place)


# what would fill the memory


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels, in little more than side^2 / 1000 bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return len(content).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)

    packer, rows = zlib.compressobj(9), b""
    row = bytes(1 + side)
    rows = b"".join(packer.compress(row) for _ in range(min(side, 100))) + packer.flush()
    head = side.to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [6_000, 13_000, 30_000])
def test_a_huge_picture_is_not_decoded(side: int, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "step_00000001.png").write_bytes(bomb(side))
    with pytest.raises(
        OSError, match=rf"it has {side} x {side} pixels|Image size \({side**2} pixels\) exceeds"
    ):
        images.read(tmp_path / "samples" / "step_00000001.png")
    series = images.Series("x", "samples", folders.pictures(tmp_path / "samples"))
    assert images.select([series], 10**6).series == []


def test_compressed_weights_are_not_unpacked(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.zeros(10**6, np.float32))
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", file.getvalue())
    assert (tmp_path / "x.npz").stat().st_size < 10_000
    with pytest.raises(BadInput, match="is not a whole"):
        weights.load(tmp_path / "x.npz")


# a foreign sweep's source


def test_no_bytecode_of_a_foreign_sweep_is_imported(tmp_path: Path) -> None:
    place = folder.snapshot(tmp_path)
    evil = place / "latentgen" / "__pycache__" / "worker.cpython-311.pyc"
    evil.parent.mkdir()
    evil.write_bytes(b"evil")
    assert folder.snapshot(tmp_path) == place
    assert not evil.exists()
    (place / "latentgen" / "run.py").unlink()
    os.mkfifo(place / "latentgen" / "run.py")
    with soon(20):
        assert folder.snapshot(tmp_path) == place
    assert (place / "latentgen" / "run.py").is_file()
