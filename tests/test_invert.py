"""Inversion from the command line."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from commands import run

import latentgen

GOLDEN = Path(__file__).parent / "golden" / "0.1.0"
QUICK = ["--steps=60", "--restarts=2"]
CHANGES = {
    **{"steps": 2, "batch_size": 4, "generator.hidden": [8], "discriminator.hidden": [8]},
    **{f"every.{hook}": 2 for hook in ("log", "validate", "sample", "checkpoint")},
    **{"method.classes": 3, "data.validation": 3},
}


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> latentgen.Model:
    x = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3)).astype(np.uint8)
    folder = tmp_path_factory.mktemp("invert") / "run"
    data = x, np.arange(12) % 3
    return latentgen.train("latentgen:gan:conditional", data, workdir=folder, changes=CHANGES)


def test_held_out_images_are_inverted_beside_the_encoder(tmp_path: Path) -> None:
    flags = [f"--workdir={GOLDEN / 'vae'}", "--num=5", *QUICK]
    for out in ("a", "b"):
        done = run("invert", *flags, f"--out={tmp_path / out}")
        assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "a" / "codes.npz")
    model = latentgen.load(GOLDEN / "vae")
    np.testing.assert_allclose(model.decode(found["codes"]), found["x"], atol=1e-5)
    errors = json.loads((tmp_path / "a" / "errors.json").read_text())
    assert errors["mean"]["rmse_inverted"] < errors["mean"]["rmse_encoder"]
    for i, image in enumerate(errors["images"]):
        split, _, index = image["name"].partition(" ")
        given = model.run.dataset.splits[split].x[int(index)] / 255
        np.testing.assert_allclose(found["given"][i], given, atol=1e-6)
        for name, x in (
            ("inverted", found["x"][i]),
            ("encoder", model.reconstruct(given[None])[0]),
        ):
            rmse = np.sqrt(((x - given) ** 2).mean())
            assert image[f"rmse_{name}"] == pytest.approx(rmse, abs=1e-5)
    assert (errors["options"]["steps"], errors["options"]["space"]) == (60, "z")
    picture = np.asarray(PIL.Image.open(tmp_path / "a" / "picture.png"))
    assert picture.shape[1] == 9 * 56 + 8 * 4
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.long
def test_files_are_inverted_by_a_conditional_method(
    conditional: latentgen.Model, tmp_path: Path
) -> None:
    x = conditional.sample(3, seed=5, label=[2, 0, 2])
    (tmp_path / "given").mkdir()
    for i, each in enumerate(x):
        picture = PIL.Image.fromarray(np.rint(255 * each).astype(np.uint8))
        picture.save(tmp_path / "given" / f"{i}.png")
    flags = [f"--workdir={conditional.run.folder}", f"--images={tmp_path}/given", "--classes=2,0"]
    done = run("invert", *flags, f"--out={tmp_path}/out", "--steps=300", "--restarts=8")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out" / "codes.npz")
    assert found["label"].tolist() == [2, 0, 2]
    np.testing.assert_allclose(found["given"], x, atol=0.51 / 255)
    np.testing.assert_allclose(found["x"], x, atol=3 / 255)
    errors = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert [image["name"] for image in errors["images"]] == ["0.png", "1.png", "2.png"]
    assert errors["mean"].keys() == {"rmse_inverted"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--out is missing"]),
        (["--out=HERE"], ["holds files", "another --out"]),
        (["--out=x", "--num=0"], ["--num=0", "1 .. 10000"]),
        (["--out=x", "--num=5000"], ["--num=5000", "--split='test'"]),
        (["--out=x", "--split=tset"], ["'tset'", "'test'"]),
        (["--out=x", "--steps=0"], ["steps=0"]),
        (["--out=x", "--lr=0"], ["lr=0.0"]),
        (["--out=x", "--distance=lpisp"], ["'lpisp'", "lpips"]),
        (["--out=x", "--space=w"], ["space='w' needs styles"]),
        (["--out=x", "--classes=1"], ["--classes is for --images"]),
        (["--out=x", "--images=HERE/file.png", "--classes=1"], ["--classes=1", "unconditional"]),
        (["--out=x", "--images=HERE/file.png"], ["file.png", "not a picture"]),
        (["--out=x", "--images=HERE/none.png"], ["none.png", "does not exist"]),
        (["--out=x", "--images=HERE"], ["file.png", "not a picture"]),
        (["--out=x", "--workdir=nowhere"], ["nowhere", "config.json"]),
    ],
)
def test_bad_input_is_one_line(flags: list[str], words: list[str], tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file.png").write_bytes(b"text")
    flags = [flag.replace("HERE", str(tmp_path / "here")) for flag in flags]
    flags = [flag.replace("--out=x", f"--out={tmp_path}/x") for flag in flags]
    done = run("invert", f"--workdir={GOLDEN / 'vae'}", *flags)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["here"]
    for word in words:
        assert word in done.stderr.strip().splitlines()[-1]
