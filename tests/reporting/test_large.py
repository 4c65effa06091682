"""Pages of runs on large colour images, and their nearest images in arrays on disk."""

from pathlib import Path

import made_up
import numpy as np
import pytest

import latentgen
from latentgen.data.preprocess import PREPROCESS
from latentgen.data.sources import DataSet, Examples
from latentgen.reporting import folders, images, neighbours, opened, page
from latentgen.training import pictures

CHANGES = {
    **{"steps": 2, "batch_size": 4, "generator.hidden": [8], "discriminator.hidden": [8]},
    **{f"every.{hook}": 2 for hook in ("log", "validate", "sample", "checkpoint")},
    **{"method.classes": 3, "data.validation": 6},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> latentgen.Model:
    """A conditional GAN of 6 x 6 colour images, whose 40 training images lie on disk."""
    folder = tmp_path_factory.mktemp("large")
    x = np.random.default_rng(0).integers(0, 256, (46, 6, 6, 3)).astype(np.uint8)
    np.save(folder / "x.npy", x)
    data = x, np.arange(46) % 3
    made = latentgen.train(
        "latentgen:gan:conditional", data, workdir=folder / "run", changes=CHANGES
    )
    on_disk = np.load(folder / "x.npy", mmap_mode="r")
    label = (np.arange(46) % 3).astype(np.int32)
    splits = {
        "train": Examples(on_disk[:40], label[:40]),
        "validation": Examples(on_disk[40:], label[40:]),
    }
    made.run = made.run._replace(dataset=DataSet("arrays", "1", "on disk", splits))
    return made


def test_nearest_colour_images_on_disk_are_those_of_brute_force(
    model: latentgen.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = []
    kept = neighbours.to_8_bits
    monkeypatch.setattr(neighbours, "VALUES_AT_ONCE", 7 * 108)
    monkeypatch.setattr(
        neighbours, "to_8_bits", lambda run, x: blocks.append(len(x)) or kept(run, x)
    )
    found = neighbours.neighbours(model.run, model.state)
    assert max(blocks[1:]) <= max(7, neighbours.SAMPLES * neighbours.NEAREST)
    assert blocks.count(7) == 6
    train = model.run.dataset.splits["train"].x
    assert isinstance(train, np.memmap)
    samples = found.picture[:6].reshape(6, -1, 3)
    for i in range(neighbours.SAMPLES):
        sample = samples[:, 7 * i : 7 * i + 6].astype(float)
        exact = np.sqrt((((sample - train) / 255) ** 2).mean(axis=(1, 2, 3)))
        np.testing.assert_allclose(found.distances[i], np.sort(exact)[:3], atol=1e-4)
        below = found.picture[7:13, 7 * i : 7 * i + 6]
        np.testing.assert_array_equal(below, train[exact.argmin()])
    assert (found.searched, found.of, found.reduced) == (40, 40, 1)
    assert found.features == "pixels"


def test_noise_of_shown_images_is_that_of_the_compared_ones(model: latentgen.Model) -> None:
    binarize = model.run.experiment.data._replace(preprocess=PREPROCESS["binarize"])
    run = model.run._replace(experiment=model.run.experiment._replace(data=binarize))
    examples = run.dataset.splits["train"]
    whole = np.concatenate([block[:valid] for block, valid in neighbours._blocks(run, examples)])
    at = np.array([3, 39, 3, 17])
    np.testing.assert_array_equal(neighbours._at(run, examples, at), whole[at])


def test_views_name_the_classes(model: latentgen.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("red fox", "blue whale", "newt")
    monkeypatch.setattr(opened.classes, "names_of", lambda run: names)
    across = opened.traversal(model.run, model.state)
    assert across.classes[:4] == [*names, "red fox"]
    found = neighbours.neighbours(model.run, model.state)
    assert found.classes[:4] == [*names, "red fox"]
    assert "rows are of the classes red fox, blue whale" in page._traversal(across, "x")["caption"]
    assert page._neighbours(found, "x")["rows"][1][0] == "2 (blue whale)"


def test_large_images_are_previews() -> None:
    x = np.random.default_rng(0).integers(0, 256, (100, 128, 128, 3)).astype(np.uint8)
    small, factor = images.preview(x, 10)
    assert (factor, small.shape) == (2, (649, 649, 3))
    np.testing.assert_array_equal(small[:64, :64], pictures.reduced(x[:1], 2)[0])
    whole, factor = images.preview(x[:, :32, :32], 10)
    assert (factor, whole.shape) == (1, (329, 329, 3))


def large(seed: int) -> np.ndarray:
    """64 images of 256 x 256, of noise around a few colours."""
    x = np.random.default_rng(seed).random((64, 8, 8, 3), np.float32)
    x = x.repeat(32, 1).repeat(32, 2)
    return x + np.random.default_rng(seed).normal(0, 0.05, x.shape).astype(np.float32)


def test_a_large_picture_is_read_reduced(tmp_path: Path) -> None:
    grid = pictures.grid(large(0), gap=4)
    pictures.save_png(tmp_path / "x.png", grid)
    found = images.read(tmp_path / "x.png")
    assert (grid.shape, found.shape) == ((1052, 1052, 3), (526, 526, 3))
    np.testing.assert_array_equal(found, pictures.reduced(grid[None], 2)[0])


@pytest.mark.long
def test_a_page_of_three_runs_on_large_images_stays_below_3_mb(tmp_path: Path) -> None:
    x = large(0)
    bytes_ = pictures.to_bytes(np.concatenate([x, x[:36]]))
    across, factor = images.preview(bytes_, 10)
    nearest, _ = images.preview(bytes_[:48], 12)
    view = opened.Opened(
        "lr",
        1000,
        opened.Traversal(across, 10, 10, (), factor),
        neighbours.Neighbours(nearest, np.zeros((12, 3)), 0.1, 0.2, "test", 9, 9, (), factor),
        "Only points.",
    )
    more = {"picture": pictures.png(pictures.grid(x, gap=4)), "kinds": folders.KINDS}
    sweep = made_up.sweep(tmp_path / "s", made_up.learning_rates({0.1: [1.0, 2.0, 3.0]}), **more)
    text = page.page(folders.open_folder(sweep), (view,) * 3, None, True, False, "the command")
    assert 500_000 < len(text.encode()) < 3_000_000
    assert "images are reduced to 1/4 of their side" in text
    assert [page.most_bytes(n) for n in (1, 3, 100)] == [2_000_000, 2_600_000, 5_000_000]
