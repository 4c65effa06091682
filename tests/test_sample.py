"""Looking at a run and measuring it, from the command line."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from commands import run, tiny

VAE_ONLY = ("aggregate", "reconstruct")
SHORT = ["--config.steps=100", "--config.every.checkpoint=50"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    ring = ["--config.data.name=ring", "--config.data.preprocess=none"]
    for name, flags in {
        "vae": tiny("vae"),
        "gan": tiny("gan"),
        "ring": [*tiny("gan"), *ring],
    }.items():
        done = run("run", *flags, *SHORT, f"--workdir={folder / name}")
        assert done.returncode == 0, done.stderr
    return {name: folder / name for name in ("vae", "gan", "ring")}


MODES = ("prior", "interpolate", "traverse", *VAE_ONLY)
QUICK = {("gan", "traverse"), *(("gan", mode) for mode in VAE_ONLY)}


@pytest.mark.parametrize(
    ("name", "mode"),
    [("vae", mode) for mode in MODES]
    + [
        pytest.param("gan", mode, marks=() if ("gan", mode) in QUICK else pytest.mark.long)
        for mode in MODES
    ],
)
def test_each_mode_writes_a_picture_or_says_why_not(
    runs: dict[str, Path], name: str, mode: str, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "x.png"
    flags = [f"--workdir={runs[name]}", f"--out={out}", f"--mode={mode}", "--num=20"]
    done = run("sample", *flags)
    if name == "gan" and mode in VAE_ONLY:
        assert done.returncode == 2
        assert "encode" in done.stderr
        assert not out.parent.exists()
    else:
        assert done.returncode == 0, done.stderr
        picture = np.asarray(PIL.Image.open(out))
        assert picture.ndim == 2
        assert picture.std() > 1


def test_arrays_are_the_pictures_in_pixels(runs: dict[str, Path], tmp_path: Path) -> None:
    flags = [f"--workdir={runs['gan']}", "--num=5", "--seed=3"]
    for out in ("a.npz", "b.npz"):
        assert run("sample", *flags, f"--out={tmp_path / out}").returncode == 0
    a, b = (np.load(tmp_path / out) for out in ("a.npz", "b.npz"))
    assert a["x"].shape == (5, 8, 8, 1)
    assert a["codes"].shape == (5, 32)
    assert 0 <= a["x"].min() < a["x"].max() <= 1
    assert a["x"].tobytes() == b["x"].tobytes()


def test_points_are_drawn_as_points(runs: dict[str, Path], tmp_path: Path) -> None:
    done = run("sample", f"--workdir={runs['ring']}", f"--out={tmp_path}/x.png", "--num=500")
    assert done.returncode == 0, done.stderr
    assert np.asarray(PIL.Image.open(tmp_path / "x.png")).shape[-1] == 3


def test_an_older_checkpoint_gives_other_samples(runs: dict[str, Path], tmp_path: Path) -> None:
    for step in (50, 100):
        flags = [f"--workdir={runs['vae']}", f"--step={step}", f"--out={tmp_path}/{step}.npz"]
        assert run("sample", *flags).returncode == 0
    a, b = (np.load(tmp_path / f"{step}.npz") for step in (50, 100))
    np.testing.assert_array_equal(a["codes"], b["codes"])
    assert not np.allclose(a["x"], b["x"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workdir=RUN", "--out=x.jpg"], ["x.jpg", ".png"]),
        (["--workdir=RUN", "--out=x.png", "--mode=priro"], ["priro", "'prior'", "traverse"]),
        (["--workdir=RUN", "--out=x.png", "--num=0"], ["--num=0"]),
        (["--workdir=RUN", "--out=x.png", "--step=51"], ["51", "50", "100"]),
        (["--workdir=RUN", "--out=x.png", "--mode=reconstruct", "--split=tset"], ["'test'"]),
        (["--out=x.png"], ["--workdir"]),
        (["--workdir=/nowhere", "--out=x.png"], ["/nowhere", "config.json"]),
    ],
)
def test_bad_input_is_one_line(runs: dict[str, Path], flags: list[str], words: list[str]) -> None:
    done = run("sample", *(f.replace("RUN", str(runs["vae"])) for f in flags))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.strip().splitlines()[-1]


def test_reconstructions_are_as_many_as_were_asked_for(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    flags = [f"--workdir={runs['vae']}", "--mode=reconstruct", "--num=7"]
    assert run("sample", *flags, f"--out={tmp_path}/x.npz").returncode == 0
    found = np.load(tmp_path / "x.npz")
    for name in ("x", "inputs"):
        assert (found[name].shape, found[name].dtype) == ((7, 8, 8, 1), np.float32)
        assert 0 <= found[name].min() < found[name].max() <= 1
