"""Published sets by name: from original files to a mapped set, prepared once."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from made_pictures import encoded, noise

from latentgen.core.errors import BadInput
from latentgen.data import published, sources
from latentgen.data.dataset import relabelled
from latentgen.data.pictures import few
from latentgen.data.published import celeba
from latentgen.data.sources import celeba as celeba_source


def cifar_archive(path, seed=0):
    """An archive with the layout of CIFAR-10's binary version: 5 x 4 and 6 examples."""
    rng = np.random.default_rng(seed)
    found = {}
    with tarfile.open(path, "w:gz") as tar:
        for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
            n = 6 if name == "test_batch" else 4
            label = rng.integers(0, 10, (n, 1), np.uint8)
            x = rng.integers(0, 256, (n, 3, 32, 32), np.uint8)
            data = np.hstack([label, x.reshape(n, -1)]).tobytes()
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            found[name] = x.transpose(0, 2, 3, 1), label[:, 0]
    return found


@pytest.fixture
def tiny_cifar(monkeypatch, tmp_path):
    """CIFAR-10 with the sizes of `cifar_archive`, whatever its checksum."""
    monkeypatch.setattr(published, "verify", lambda file, path: "")
    whole = published.PUBLISHED["cifar10"]
    monkeypatch.setitem(
        published.PUBLISHED, "cifar10", whole._replace(splits={"train": 20, "test": 6})
    )
    (tmp_path / "original").mkdir()
    return cifar_archive(tmp_path / "original" / "cifar-10-binary.tar.gz")


def load(tmp_path, **kwargs):
    return sources.load("cifar10", data_dir=tmp_path / "data", **kwargs)


def test_a_published_set_is_prepared_once_from_its_archive(tiny_cifar, tmp_path):
    first = load(tmp_path, manual_dir=tmp_path / "original", validation=2)
    assert first.origin == f"folder {tmp_path / 'original'}"
    (tmp_path / "original" / "cifar-10-binary.tar.gz").unlink()
    again = load(tmp_path, validation=2)
    for dataset in (first, again):
        assert {s: len(e.label) for s, e in dataset.splits.items()} == {
            "train": 18,
            "validation": 2,
            "test": 6,
        }
        assert isinstance(dataset.splits["test"].x, np.memmap)
        assert dataset.classes[0] == "airplane"
        np.testing.assert_array_equal(dataset.splits["test"].x, tiny_cifar["test_batch"][0])
        np.testing.assert_array_equal(dataset.splits["test"].label, tiny_cifar["test_batch"][1])
        np.testing.assert_array_equal(dataset.splits["train"].x[:4], tiny_cifar["data_batch_1"][0])
    assert sources.identity(first, "unit") == sources.identity(again, "unit")


def test_an_archive_of_another_size_is_refused_and_leaves_nothing(
    tiny_cifar, tmp_path, monkeypatch
):
    whole = published.PUBLISHED["cifar10"]
    monkeypatch.setitem(
        published.PUBLISHED, "cifar10", whole._replace(splits={"train": 21, "test": 6})
    )
    with pytest.raises(BadInput, match=r"cifar10': train has another number of examples than 21"):
        load(tmp_path, manual_dir=tmp_path / "original")
    assert not list(tmp_path.glob("data/latentgen_sets/cifar10/*"))


def test_a_damaged_archive_is_refused(tmp_path):
    (tmp_path / "original").mkdir()
    cifar_archive(tmp_path / "original" / "cifar-10-binary.tar.gz")
    with pytest.raises(BadInput, match=r"cifar-10-binary.tar.gz is truncated: .* wanted") as caught:
        load(tmp_path, manual_dir=tmp_path / "original")
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=r"lacks cifar-10-binary.tar.gz of cifar10"):
        load(tmp_path, manual_dir=tmp_path)


def test_what_cannot_be_verified_is_not_downloaded(tmp_path):
    with pytest.raises(BadInput, match=r"publisher names no checksum: put .* --manual_dir"):
        sources.load("dsprites", data_dir=tmp_path)


def test_celeba_keeps_its_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "verify", lambda file, path: "")
    folder = tmp_path / "original"
    folder.mkdir()
    names = [f"{i:06}.jpg" for i in range(1, 8)]
    pictures = [encoded(noise(11, 9, i), "PNG") for i in range(7)]
    with zipfile.ZipFile(folder / celeba.IMAGES.name, "w") as archive:
        for name, data in zip(names, pictures, strict=True):
            archive.writestr(f"img_align_celeba/{name}", data)
    split = [0, 0, 0, 0, 1, 2, 2]
    lines = [f"{name} {s}" for name, s in zip(names, split, strict=True)]
    (folder / celeba.PARTITION.name).write_text("\n".join(lines))
    smiling = celeba.ATTRIBUTES.index("Smiling")
    attributes = np.full((7, 40), -1)
    attributes[[1, 4, 6], smiling] = 1
    rows = [f"{name} {' '.join(map(str, of))}" for name, of in zip(names, attributes, strict=True)]
    (folder / celeba.ATTRIBUTE_LIST.name).write_text(
        "\n".join(["7", " ".join(celeba.ATTRIBUTES), *rows])
    )
    monkeypatch.setattr(celeba_source, "published", published)
    where = {"data_dir": tmp_path / "data", "manual_dir": folder, "size": 8}
    dataset = sources.load("celeba", **where)
    assert {s: e.x.shape for s, e in dataset.splits.items()} == {
        "train": (4, 8, 8, 3),
        "validation": (1, 8, 8, 3),
        "test": (2, 8, 8, 3),
    }
    assert (dataset.name, dataset.classes) == ("celeba", ())
    assert list(dataset.factors) == list(celeba.ATTRIBUTES)
    by_smile = relabelled(dataset, ("Smiling",))
    assert by_smile.classes == ("Smiling 0", "Smiling 1")
    found = {}
    for examples in by_smile.splits.values():
        found |= {
            x.tobytes(): int(label) for x, label in zip(examples.x, examples.label, strict=True)
        }
    for i, data in enumerate(pictures):
        (path := folder / f"{i}.png").write_bytes(data)
        assert found[few.read(path, (8, 8, 3), 1)[0][0].tobytes()] == (i in (1, 4, 6))
    with pytest.raises(BadInput, match=r"needs its original files: put img_align_celeba.zip"):
        sources.load("celeba", data_dir=tmp_path / "data")
