"""Samples as files: each depends on its index alone, and a stopped command continues."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

import latentgen
from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key, run_key
from latentgen.evaluation import sample_files, views
from latentgen.evaluation.sample_files import Source
from latentgen.storage import workdir
from latentgen.training import hooks, pictures, setup

CHANGES = {
    **{"steps": 2, "batch_size": 4, "generator.hidden": [8], "discriminator.hidden": [8]},
    **{f"every.{hook}": 2 for hook in ("log", "validate", "sample", "checkpoint")},
    **{"method.classes": 3, "data.validation": 3},
}
NUM = 11


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> latentgen.Model:
    x = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3)).astype(np.uint8)
    folder = tmp_path_factory.mktemp("samples") / "run"
    data = x, np.arange(12) % 3
    return latentgen.train("latentgen:gan:conditional", data, workdir=folder, changes=CHANGES)


@pytest.fixture
def source(model: latentgen.Model, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Samples of all three classes, four in a block."""
    monkeypatch.setattr(sample_files, "VALUES_AT_ONCE", 4 * 48)
    return made(model)


def made(model: latentgen.Model, seed: int = 0, classes: tuple[int, ...] = (0, 1, 2)) -> Source:
    return sample_files.from_prior(model.run, model.step, model.state, seed, classes)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def undisturbed(source: Source, tmp_path: Path) -> dict[str, bytes]:
    assert sample_files.write_folder(tmp_path / "undisturbed", source, NUM) == NUM
    return contents(tmp_path / "undisturbed")


def test_a_sample_depends_on_seed_and_index_alone(
    model: latentgen.Model, undisturbed: dict[str, bytes]
) -> None:
    key = named_key(run_key(0), "samples by index")
    for i in (0, 5, 10):
        z = model.method.probes["codes"](model.state, jax.random.fold_in(key, i), 1)
        x = model.decode(z, label=[i % 3])[0]
        with PIL.Image.open(io.BytesIO(undisturbed[f"{i:06d}.png"])) as file:
            found = np.asarray(file)
        np.testing.assert_allclose(found, 255 * x, atol=0.51)  # rounded


def test_codes_are_equal_in_blocks_of_any_size(model: latentgen.Model) -> None:
    key, every = run_key(1), jnp.arange(7)
    whole = views.prior_by_index(model.method, model.state, key, every)
    for i in (0, 3, 6):
        alone = views.prior_by_index(model.method, model.state, key, every[i : i + 1])
        np.testing.assert_array_equal(whole[i], alone[0])
    assert len(np.unique(np.asarray(whole)[:, 0])) == 7


def test_a_folder_holds_what_it_should(undisturbed: dict[str, bytes]) -> None:
    pictures = [f"{i:06d}.png" for i in range(NUM)]
    assert sorted(undisturbed) == [*pictures, "dataset.json", "samples.json"]
    labels = json.loads(undisturbed["dataset.json"])
    assert labels == {"labels": [[name, i % 3] for i, name in enumerate(pictures)]}
    with PIL.Image.open(io.BytesIO(undisturbed[pictures[0]])) as file:
        assert (file.size, file.mode) == ((4, 4), "RGB")


def killed_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of `workdir` that is killed in the call after so many."""
    left = [calls]

    def call(path: Path, *inputs: Any, **options: Any) -> Any:
        if not left[0]:
            path.with_name(f".{path.name}.tmp").write_bytes(b"a part")
            raise KeyboardInterrupt
        left[0] -= 1
        return function(path, *inputs, **options)

    return call


@pytest.mark.parametrize("writes", [0, 1, 3, 6, NUM + 1])
def test_a_resumed_folder_equals_an_undisturbed_one(
    source: Source,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    writes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(workdir, "write_bytes", killed_after(writes, workdir.write_bytes))
        with pytest.raises(KeyboardInterrupt):
            sample_files.write_folder(tmp_path / "x", source, NUM)
    missing = NUM - max(0, writes - 1)  # the first file is samples.json
    assert sample_files.write_folder(tmp_path / "x", source, NUM) == missing
    assert contents(tmp_path / "x") == undisturbed


def test_complete_files_are_kept_and_others_are_written_again(
    source: Source, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    sample_files.write_folder(tmp_path / "x", source, 6)
    cut = tmp_path / "x" / "000002.png"
    cut.write_bytes(cut.read_bytes()[:-20])
    (tmp_path / "x" / "000004.png").write_bytes(b"")
    kept = (tmp_path / "x" / "000003.png").stat().st_ino
    assert sample_files.write_folder(tmp_path / "x", source, NUM) == NUM - 4
    assert (tmp_path / "x" / "000003.png").stat().st_ino == kept
    assert contents(tmp_path / "x") == undisturbed


def test_a_zip_holds_the_files_of_a_folder(
    source: Source, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "x.zip"
    assert sample_files.write_zip(out, source, NUM) == NUM
    with zipfile.ZipFile(out) as packed:
        assert packed.testzip() is None
        assert {name: packed.read(name) for name in packed.namelist()} == undisturbed
    before = out.stat().st_ino
    assert sample_files.write_zip(out, source, NUM) == 0
    assert out.stat().st_ino == before
    assert [file.name for file in tmp_path.iterdir() if file.name != "undisturbed"] == ["x.zip"]


@pytest.mark.parametrize("calls", [0, 5, NUM + 1])
@pytest.mark.parametrize("where", ["write_bytes", "read_bytes"])
def test_a_zip_is_all_or_nothing(
    source: Source, tmp_path: Path, where: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while samples are written, or while they are packed."""
    sample_files.write_zip(tmp_path / "a.zip", source, NUM)
    with monkeypatch.context() as patched:
        patched.setattr(workdir, where, killed_after(calls, getattr(workdir, where)))
        with pytest.raises(KeyboardInterrupt):
            sample_files.write_zip(tmp_path / "b.zip", source, NUM)
    assert not (tmp_path / "b.zip").exists()
    sample_files.write_zip(tmp_path / "b.zip", source, NUM)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_other_samples_are_refused(
    model: latentgen.Model, source: Source, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    folder, out = tmp_path / "undisturbed", tmp_path / "x.zip"
    sample_files.write_zip(out, source, NUM)
    others = {
        "seed 0 there, 1 now": made(model, seed=1),
        r"classes \[0, 1, 2\] there, \[2\] now": made(model, classes=(2,)),
        "step 2 there, 1 now": sample_files.from_prior(model.run, 1, model.state, 0, (0, 1, 2)),
        "weights_sha256": sample_files.from_prior(
            model.run, 2, jax.tree.map(lambda leaf: leaf + 1, model.state), 0, (0, 1, 2)
        ),
    }
    for said, other in others.items():
        with pytest.raises(BadInput, match=f"holds other samples .*{said}"):
            sample_files.write_folder(folder, other, NUM)
        with pytest.raises(BadInput, match=f"x.zip' holds other samples .*{said}"):
            sample_files.write_zip(out, other, NUM)
    with pytest.raises(BadInput, match=r"holds 000010\.png, which is beyond --num=5"):
        sample_files.write_folder(folder, source, 5)
    with pytest.raises(BadInput, match="holds 11 samples, not --num=5"):
        sample_files.write_zip(out, source, 5)
    assert contents(folder) == undisturbed


def test_what_is_not_ours_is_refused_and_kept(source: Source, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for place in (tmp_path / "x" / "000000.png", tmp_path / "x.zip"):
        place.write_bytes(b"mine")
        write = sample_files.write_zip if place.suffix == ".zip" else sample_files.write_folder
        out = place if place.suffix == ".zip" else place.parent
        with pytest.raises(BadInput, match="holds other files than samples"):
            write(out, source, NUM)
        assert place.read_bytes() == b"mine"


def test_samples_that_are_not_finite_are_refused(model: latentgen.Model, tmp_path: Path) -> None:
    state = jax.tree.map(lambda leaf: leaf * np.nan, model.state)
    broken = sample_files.from_prior(model.run, 2, state, 0, (0, 1, 2))
    with pytest.raises(BadInput, match="the samples are not finite"):
        sample_files.write_folder(tmp_path / "x", broken, 1)


def test_pictures_in_training_say_the_class(model: latentgen.Model) -> None:
    x = setup.sampler(model.run)(model.state)
    preprocess = model.run.experiment.data.preprocess
    written = [str(i % 3) for i in range(64)]
    expected = pictures.png(hooks.draw(x, preprocess, None, captions=written))
    folder = model.run.folder / "samples"
    assert (folder / "step_00000002.png").read_bytes() == expected
    assert model._repr_png_() == expected
    assert expected != pictures.png(hooks.draw(x, preprocess, None))


def test_the_workdir_gets_the_names_of_classes(model: latentgen.Model) -> None:
    data: Any = SimpleNamespace(shape=(4, 4, 3), dtype=np.dtype("uint8"), classes=("a", "b"))
    assert setup.description(model.run._replace(dataset=data))["classes"] == ["a", "b"]
    assert "classes" not in setup.description(model.run)
