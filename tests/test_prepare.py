"""The command `prepare`: a folder of pictures becomes a data set with a name, and a report."""

import json
import shlex
import zipfile
from pathlib import Path

import commands
import numpy as np
import pytest
from made_pictures import encoded, noise, write
from PIL import Image

from latentgen.core.errors import BadInput
from latentgen.data import sources
from latentgen.data.pictures import named, report


def test_a_folder_becomes_a_named_set(tmp_path: Path) -> None:
    files = {f"{c}/{i}.png": encoded(noise(9, 9, i)) for i, c in enumerate("ab" * 6)}
    files |= {f"a/bad {i:02}\n.png": b"words" for i in range(12)} | {"notes.txt": b""}
    write(tmp_path / "in", files)
    flags = (f"--images={tmp_path / 'in'}", "--size=8", f"--data_dir={tmp_path / 'data'}")
    done = commands.run("prepare", *flags, "--name=mine", "--holdout=0.25")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in ("seen 24", "taken 12", "refused 12", "not a picture 12", "ignored files 1"):
        assert line in lines
    assert r"bad 09\n.png" in done.stdout
    assert "and 2 more" in lines
    assert "classes 2" in lines
    command = "python -m latentgen.run --config experiments/vae.py:images"
    assert shlex.split(lines[-1]) == [*command.split(), "--config.data.name=mine", flags[-1]]

    sets = tmp_path / "data" / "latentgen_sets"
    found = named.read(sets, "mine")
    assert found is not None
    assert found.holdout == 0.25
    sizes = {None: 3, 5: 5, 0: None}  # config.data.validation -> images held out
    for asked, held_out in sizes.items():
        splits = sources.load("mine", validation=asked, data_dir=tmp_path / "data").splits
        assert (len(splits["validation"].label) if "validation" in splits else None) == held_out
    folder = sets / found.folder
    assert np.load(folder / "train_x.npy").shape == (12, 8, 8, 3)
    assert len(json.loads((folder / "card.json").read_text())["report"]["refused"]) == 12
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.size == (4 * 57 - 1, 3 * 57 - 1)  # 12 images in a grid, each 56 pixels wide

    again = commands.run("prepare", *flags, "--name=mine", "--crop=pad")
    assert again.returncode == 2
    assert f"--name='mine' is the set {found.folder}; choose another name" in again.stderr
    assert named.read(sets, "mine") == found
    again = commands.run("prepare", *flags, "--name=mine", "--crop=pad", "--replace")
    assert again.returncode == 0
    assert named.read(sets, "mine") != found


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--images and --size are needed"),
        (("--images=nowhere", "--size=8"), "nowhere does not exist"),
        (("--images=.", "--size=8", "--name=a/b"), "--name='a/b' must have letters"),
        (("--images=.", "--size=8", "--name=a", "--holdout=1"), "--holdout=1.0 must be above 0"),
        (("--images=.", "--size=8", "--holdout=0.1"), "--holdout=0.1 needs a --name"),
        (("--images=.", "--size=0"), "size=0 must be in 1"),
    ],
)
def test_refused_flags(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    done = commands.run("prepare", *flags, f"--data_dir={tmp_path}", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_share_to_hold_out_beside_a_split_of_the_pictures_own_is_refused(tmp_path: Path) -> None:
    split = {"train": range(6), "val": range(6, 9)}
    files = {f"{s}/{i}.png": encoded(noise(9, 9, i)) for s, each in split.items() for i in each}
    write(tmp_path / "in", files)
    flags = (f"--images={tmp_path / 'in'}", "--size=8", f"--data_dir={tmp_path / 'data'}")
    done = commands.run("prepare", *flags, "--name=mine", "--holdout=0.5")
    assert done.returncode == 2
    assert "--holdout=0.5: the pictures have a validation split of their own, of 3" in done.stderr
    assert named.read(tmp_path / "data" / "latentgen_sets", "mine") is None


def test_a_damaged_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(BadInput, match=r"a\.json is damaged; write it with --replace"):
        named.read(tmp_path, "a")
    named.write(tmp_path, "a", named.Named("folder"), replace=True)
    assert named.read(tmp_path, "a") == named.Named("folder", None)
    assert named.read(tmp_path, "b") is None


def test_a_report_of_many_classes_is_short() -> None:
    counts = {str(i): 1 for i in range(100)}
    found = dict(seen=1, taken=1, refused={}, ignored=0, duplicates=0, in_two_splits=2)
    found |= dict(width=[1, 1, 1], height=[1, 1, 1], splits={"train": 1}, classes=counts)
    lines = report.lines(found)
    assert lines[-1].split() == ["and", "80", "more"]
    assert "left out: in a later split 2" in [" ".join(line.split()) for line in lines]


@pytest.mark.long
def test_the_commands_of_the_document(tmp_path: Path) -> None:
    """The three of latentgen/data/README.md, on few pictures and with few steps."""
    text = (commands.ROOT / "latentgen" / "data" / "README.md").read_text()
    lines = text.split("```")[1].strip().splitlines()
    assert len(lines) == 3
    write(tmp_path / "pictures", {f"{i}.png": encoded(noise(70, 70, i)) for i in range(24)})
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in (tmp_path / "pictures").iterdir():
            archive.write(path, path.name)
    every = [f"--config.every.{key}=2" for key in ("log", "validate", "sample", "checkpoint")]
    narrow = {"vae": ("encoder", "decoder"), "gan": ("generator", "discriminator")}
    data = f"--data_dir={tmp_path / 'data'}"
    for line in lines:
        python, m, module, *flags = shlex.split(line)
        assert (python, m) == ("python", "-m")
        command = module.removeprefix("latentgen.")
        if command == "run":
            name = flags[1].removeprefix("experiments/").partition(".")[0]
            flags[1] = str(commands.ROOT / flags[1])
            flags += [f"--config.{net}.{w}=4" for net in narrow[name] for w in ("width", "widest")]
            flags += ["--config.steps=2", "--config.batch_size=8", *every]
        done = commands.run(command, *flags, data, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
