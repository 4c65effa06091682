"""Looking at a run and measuring it, from the command line."""

import json
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from commands import run, start, tiny

MOVE = ["--mode=interpolate"]
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
        "classes": [*tiny("gan"), "--config.method.classes=10"],
    }.items():
        done = run("run", *flags, *SHORT, f"--workdir={folder / name}")
        assert done.returncode == 0, done.stderr
    return {name: folder / name for name in ("vae", "gan", "ring", "classes")}


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
        (["--workdir=RUN", "--out=x.jpg"], ["a folder", ".zip"]),
        (["--workdir=RUN", "--out=x", "--mode=traverse"], ["'traverse'", "--mode=prior"]),
        (["--workdir=RUN", "--out=x.zip", "--mode=aggregate"], ["'aggregate'", "--mode=prior"]),
        (["--workdir=RUN", "--out=x", "--num=1000001"], ["1 .. 1000000", "folder"]),
        (["--workdir=RUN", "--out=x", "--classes=1"], ["--classes=1", "unconditional"]),
        (["--workdir=RUN", "--out=x.png", "--classes=1"], ["--classes=1", "unconditional"]),
        (["--workdir=CLASSES", "--out=x", "--classes=3,10"], ["'10' is no class", "0 .. 9"]),
        (["--workdir=CLASSES", "--out=x", "--classes="], ["--classes is empty"]),
        (
            ["--workdir=CLASSES", "--out=x.npz", "--classes=1", "--mode=aggregate"],
            ["'aggregate'", "prior, interpolate, traverse"],
        ),
        (["--workdir=RING", "--out=x"], ["images only", ".npz"]),
        (["--workdir=RUN"], ["--out is missing", "a folder"]),
        (["--workdir=RUN", "--out=x.png", "--mode=priro"], ["priro", "'prior'", "traverse"]),
        (["--workdir=RUN", "--out=x.png", "--num=0"], ["--num=0"]),
        (["--workdir=RUN", "--out=x.png", "--step=51"], ["51", "50", "100"]),
        (["--workdir=RUN", "--out=x.png", "--mode=reconstruct", "--split=tset"], ["'test'"]),
        (["--workdir=RUN", "--out=x", "--truncation=0"], ["--truncation=0.0", "at most 10"]),
        (["--workdir=RUN", "--out=x.png", "--truncation=15"], ["--truncation=15.0", "at most 10"]),
        (
            ["--workdir=RUN", "--out=x.png", "--truncation=0.5", "--mode=traverse"],
            ["--truncation", "'traverse'", "prior, interpolate"],
        ),
        (["--workdir=RUN", "--out=x.png", "--mix=0-1"], ["mixing needs styles", "decode"]),
        (["--workdir=RUN", "--out=x.png", "--mix=1-0"], ["--mix='1-0'", "FIRST-LAST"]),
        (["--workdir=RUN", "--out=x", "--mix=0"], ["--mix='0'", "folder"]),
        (["--workdir=RUN", "--out=x.npz", "--mix=0", "--mode=interpolate"], ["--mix", "prior"]),
        (["--workdir=RUN", "--video=x.gif"], ["--video", "--mode=interpolate"]),
        (["--workdir=RUN", *MOVE, "--video=x.mp4"], ["'x.mp4'", ".gif or .webp"]),
        (["--workdir=RUN", *MOVE, "--video=x.gif", "--fps=51"], ["--fps=51", "1 .. 50"]),
        (["--workdir=RUN", *MOVE, "--video=x.gif", "--num=1"], ["--num=1", "2 codes"]),
        (["--workdir=RUN", *MOVE, "--video=x.gif", "--out=x"], ["in place of --out"]),
        (["--workdir=RING", *MOVE, "--video=x.gif"], ["images only", ".npz"]),
        (["--out=x.png"], ["--workdir"]),
        (["--workdir=/nowhere", "--out=x.png"], ["/nowhere", "config.json"]),
    ],
)
def test_bad_input_is_one_line(
    runs: dict[str, Path], flags: list[str], words: list[str], tmp_path: Path
) -> None:
    places = {"RUN": "vae", "CLASSES": "classes", "RING": "ring"}
    for word, name in places.items():
        flags = [flag.replace(f"--workdir={word}", f"--workdir={runs[name]}") for flag in flags]
    flags = [flag.replace("--out=", f"--out={tmp_path}/") for flag in flags]
    done = run("sample", *flags)
    assert list(tmp_path.iterdir()) == []
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


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_folder_and_a_zip_of_one_class_after_the_other(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    flags = [f"--workdir={runs['classes']}", "--classes=7,2", "--seed=3"]
    for out, num, kept in (("a", 4, ""), ("a", 6, "4 of them already there"), ("b.zip", 6, "")):
        done = run("sample", *flags, f"--out={tmp_path / out}", f"--num={num}")
        assert done.returncode == 0, done.stderr
        assert f"{out}: {num} examples" in done.stdout
        assert kept in done.stdout
    with zipfile.ZipFile(tmp_path / "b.zip") as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == files(tmp_path / "a")
    labels = json.loads((tmp_path / "a" / "dataset.json").read_text())["labels"]
    assert labels == [[f"{i:06d}.png", (7, 2)[i % 2]] for i in range(6)]


@pytest.mark.long
def test_an_unconditional_folder_has_no_labels_and_keeps_other_seeds_out(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    flags = [f"--workdir={runs['vae']}", f"--out={tmp_path}/x", "--num=3"]
    assert run("sample", *flags).returncode == 0
    before = files(tmp_path / "x")
    assert sorted(before) == ["000000.png", "000001.png", "000002.png", "samples.json"]
    for other in ("--seed=1", "--step=50", "--num=2", f"--workdir={runs['gan']}"):
        done = run("sample", *flags, other)
        assert done.returncode == 2
        assert "name another --out" in done.stderr
    assert files(tmp_path / "x") == before


@pytest.mark.long
def test_truncation_is_part_of_what_a_folder_holds(runs: dict[str, Path], tmp_path: Path) -> None:
    flags = [f"--workdir={runs['gan']}", "--num=3"]
    assert run("sample", *flags, f"--out={tmp_path}/x", "--truncation=0.5").returncode == 0
    for other in ([], ["--truncation=0.6"]):
        done = run("sample", *flags, *other, f"--out={tmp_path}/x")
        assert done.returncode == 2
        assert "truncation 0.5 there" in done.stderr
    assert json.loads((tmp_path / "x" / "samples.json").read_text())["truncation"] == 0.5
    done = run("sample", *flags, f"--out={tmp_path}/z.npz", "--num=50", "--truncation=0.5")
    assert done.returncode == 0, done.stderr
    assert 0.4 < abs(np.load(tmp_path / "z.npz")["codes"]).max() <= 0.5


@pytest.mark.parametrize(("name", "cells"), [("gan", 1), ("classes", 2)])
def test_a_video_of_each_class_chosen(
    runs: dict[str, Path], name: str, cells: int, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "x.gif"
    flags = [f"--workdir={runs[name]}", *MOVE, f"--video={out}", "--num=3", "--frames=4"]
    flags += ["--classes=7,2"] if name == "classes" else []
    done = run("sample", *flags, "--truncation=1", "--fps=10")
    assert done.returncode == 0, done.stderr
    with PIL.Image.open(out) as picture:
        assert (picture.n_frames, picture.info["duration"]) == (12, 100)
        assert picture.width == cells * 56 + (cells - 1) * 4


def test_names_of_classes_choose_and_are_drawn(runs: dict[str, Path], tmp_path: Path) -> None:
    copied = shutil.copytree(runs["classes"], tmp_path / "run")
    data = json.loads((copied / "data.json").read_text())
    data["example"]["classes"] = [f"name {i}" for i in range(10)]
    (copied / "data.json").write_text(json.dumps(data))
    pictures = {}
    for out, flags in {
        "named": [f"--workdir={copied}", "--classes=name 4"],
        "numbered": [f"--workdir={runs['classes']}", "--classes=4"],
    }.items():
        for end in (".png", ".npz"):
            place = f"--out={tmp_path / out}{end}"
            done = run("sample", *flags, place, "--num=1")
            assert done.returncode == 0, done.stderr
        pictures[out] = np.asarray(PIL.Image.open(tmp_path / f"{out}.png"))
        assert np.load(tmp_path / f"{out}.npz")["label"].tolist() == [4]
    image, caption = (slice(0, 56), slice(56, None))
    np.testing.assert_array_equal(pictures["named"][image], pictures["numbered"][image])
    assert (pictures["named"][caption] > 0).sum() > (pictures["numbered"][caption] > 0).sum() > 0


@pytest.mark.long
def test_killed_at_any_moment_and_continued_it_is_the_undisturbed_one(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    flags = [f"--workdir={runs['classes']}", "--num=3000"]
    assert run("sample", *flags, f"--out={tmp_path}/a").returncode == 0
    for files_then in (1, 700, 2_000):
        with start("sample", *flags, f"--out={tmp_path}/b") as process:
            while process.poll() is None and len(list(tmp_path.glob("b/*.png"))) < files_then:
                time.sleep(0.02)
            process.kill()
    assert run("sample", *flags, f"--out={tmp_path}/b").returncode == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
