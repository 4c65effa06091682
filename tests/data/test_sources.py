import functools
import gzip
import http.server
import json
import logging
import os
import threading
import time
import urllib.error

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tiny_set import everything, sha256

from latentgen.core.errors import BadInput
from latentgen.data import builders, folders, originals, sources, store
from latentgen.data.originals import Original
from latentgen.data.sources import tfds as tfds_source


def check(dataset, data, validation):
    x, label = data["train"]
    cut = len(x) - validation
    expected = {
        "train": (x[:cut], label[:cut]),
        "validation": (x[cut:], label[cut:]),
        "test": data["test"],
    }
    assert list(dataset.splits) == list(expected)
    for split, (images, labels) in expected.items():
        examples = dataset.splits[split]
        np.testing.assert_array_equal(examples.x, images)
        np.testing.assert_array_equal(examples.label, labels)
        assert examples.x.dtype == np.uint8
        assert examples.label.dtype == np.int32


# digits


def test_digits_are_scikit_learns_in_another_order():
    from sklearn.datasets import load_digits

    dataset = sources.load("digits")
    sizes = {s: e.x.shape for s, e in dataset.splits.items()}
    assert sizes == {
        "train": (1397, 8, 8, 1),
        "validation": (200, 8, 8, 1),
        "test": (200, 8, 8, 1),
    }
    x = np.concatenate([e.x for e in dataset.splits.values()]).reshape(-1, 64)
    label = np.concatenate([e.label for e in dataset.splits.values()])
    values, target = load_digits(return_X_y=True)
    # 0..16 in steps of 255/16 are told apart after rounding
    restored = np.rint(x * (16 / 255))
    assert np.abs(x - restored * 255 / 16).max() <= 0.5
    assert x.min() == 0
    assert x.max() == 255
    ours = np.column_stack([restored, label])
    theirs = np.column_stack([values, target])
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.tolist()))
    assert (ours != theirs).any()
    # every digit is in every split
    assert all(len(np.unique(e.label)) == 10 for e in dataset.splits.values())


def test_digits_need_neither_scikit_learn_nor_tfds_imported():
    import subprocess
    import sys

    code = (
        "import sys; from latentgen.data import sources; sources.load('digits');"
        "sources.load('ring');"
        "assert not {'sklearn', 'tensorflow_datasets', 'tensorflow', 'grain', 'PIL'} "
        "& set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# the validation split and the identity


@pytest.mark.parametrize(("validation", "train"), [(0, 1597), (1, 1596), (1596, 1), (None, 1397)])
def test_validation_is_the_end_of_train(validation, train):
    dataset = sources.load("digits", validation=validation)
    whole = sources.load("digits", validation=0).splits
    assert len(dataset.splits["train"].label) == train
    assert ("validation" in dataset.splits) == (validation != 0)
    parts = [dataset.splits[s].x for s in ("train", "validation") if s in dataset.splits]
    np.testing.assert_array_equal(np.concatenate(parts), whole["train"].x)
    np.testing.assert_array_equal(dataset.splits["test"].x, whole["test"].x)


@pytest.mark.parametrize("validation", [-1, 1597, 10**9])
def test_too_much_validation(validation):
    with pytest.raises(BadInput, match=f"config.data.validation={validation} must .* 1597"):
        sources.load("digits", validation=validation)


def test_identity():
    one = sources.identity(sources.load("digits"), "unit")
    assert json.loads(json.dumps(one)) == one
    assert one["name"] == "digits"
    assert one["preprocess"] == "unit"
    assert one["splits"] == {"train": 1397, "validation": 200, "test": 200}
    # of the content, not of how it is split
    assert one["sha256"] == sources.identity(sources.load("digits", validation=0), "none")["sha256"]
    dataset = sources.load("digits")
    changed = dataset.splits["test"].x.copy()
    changed[7, 3, 3, 0] ^= 1
    dataset.splits["test"] = dataset.splits["test"]._replace(x=changed)
    assert sources.identity(dataset, "unit")["sha256"] != one["sha256"]


@pytest.mark.parametrize(
    ("name", "match"), [("digit", "did you mean 'digits'"), ("../x", "Valid: "), ("", "Valid: ")]
)
def test_unknown_names(name, match, tmp_path):
    with pytest.raises(BadInput, match=match) as caught:
        sources.load(name, data_dir=tmp_path / "none")
    assert all(built_in in str(caught.value) for built_in in sources.BUILT_IN)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "none").exists()


# originals from a folder


@pytest.mark.parametrize("layout", ["gz", "plain", "subfolder", "another gzip"])
def test_prepares_from_a_folder(layout, tiny, tmp_path, caplog):
    folder, data = tiny
    for path in list(folder.iterdir()):
        content = gzip.decompress(path.read_bytes())
        if layout == "plain":
            path.with_suffix("").write_bytes(content)
            path.unlink()
        elif layout == "another gzip":
            path.write_bytes(gzip.compress(content, 1, mtime=1))
        elif layout == "subfolder":
            (folder / "fashion_mnist").mkdir(exist_ok=True)
            path.rename(folder / "fashion_mnist" / path.name)
    where = {"data_dir": tmp_path / "data", "validation": 20}
    with caplog.at_level(logging.INFO):
        dataset = sources.load("fashion_mnist", manual_dir=folder, **where)
    assert dataset.origin == f"folder {folder}"
    assert f"folder {folder}" in caplog.text
    check(dataset, data, 20)
    # from now on neither the folder nor TFDS is needed
    for path in folder.rglob("*.*"):
        path.unlink()
    again = sources.load("fashion_mnist", **where)
    assert again.origin.startswith("prepared by TFDS in ")
    assert isinstance(again.splits["train"].x, np.memmap)
    check(again, data, 20)
    assert sources.identity(again, "unit") == sources.identity(dataset, "unit")
    assert not [p for p in everything(tmp_path / "data") if ".latentgen" in p or "incomplete" in p]


def test_the_cache_follows_the_prepared_set(tiny, tmp_path):
    folder, data = tiny
    where = {"data_dir": tmp_path / "data", "validation": 20}
    sources.load("fashion_mnist", manual_dir=folder, **where)
    (cached,) = (tmp_path / "data").glob("latentgen_arrays/*/*/*/train_x.npy")
    x = np.load(cached)
    np.save(cached, 255 - x)
    signed = folders.read_digests(cached.parent)
    folders.write_digests(cached.parent, signed | {"train_x": folders.digest(255 - x)})
    marked = sources.load("fashion_mnist", **where)
    np.testing.assert_array_equal(marked.splits["train"].x, 255 - data["train"][0][:40])
    # another set of the same name and version: its files differ, and the cache is not used
    info = tmp_path / "data" / "latentgen_fashion_mnist" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text() + "\n")
    check(sources.load("fashion_mnist", **where), data, 20)


def test_without_a_place_for_the_cache(tiny, tmp_path, monkeypatch, caplog):
    folder, data = tiny

    class Full:
        def __init__(self, *args):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "Rows", Full)
    dataset = sources.load("fashion_mnist", manual_dir=folder, data_dir=tmp_path, validation=20)
    check(dataset, data, 20)
    assert "No space left" in caplog.text
    assert not list(tmp_path.glob("latentgen_arrays/*/*/*"))


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed", "truncated plain", "empty"])
def test_damaged_originals_leave_nothing(damage, tiny, tmp_path):
    folder, _ = tiny
    path = folder / "t10k-labels-idx1-ubyte.gz"
    packed = path.read_bytes()
    content = gzip.decompress(packed)
    path.unlink()
    if damage == "truncated":
        path.write_bytes(packed[:-9])
    elif damage == "changed":
        path.write_bytes(gzip.compress(content[:-1] + bytes([content[-1] ^ 1])))
    elif damage == "truncated plain":
        path.with_suffix("").write_bytes(content[:-1])
    elif damage == "empty":
        path.touch()
    before = everything(tmp_path)
    with pytest.raises(BadInput, match="t10k-labels-idx1-ubyte") as caught:
        sources.load("fashion_mnist", manual_dir=folder, data_dir=tmp_path / "data")
    message = str(caught.value)
    assert "\n" not in message
    if damage == "missing":
        assert "--manual_dir" in message
    else:
        assert sha256(packed) in message
        assert sha256(content) in message
        found = path if path.exists() else path.with_suffix("")
        assert sha256(found.read_bytes()) in message or damage == "changed"
    assert everything(tmp_path) == before


def test_a_failure_while_writing_leaves_nothing(tiny, tmp_path, monkeypatch):
    folder, _ = tiny
    generate = builders.LatentgenFashionMnist._generate_examples

    def breaks(self, images, labels):
        for i, example in enumerate(generate(self, images, labels)):
            if i == 5:
                raise OSError(28, "No space left on device")
            yield example

    monkeypatch.setattr(builders.LatentgenFashionMnist, "_generate_examples", breaks)
    before = everything(tmp_path)
    with pytest.raises(OSError, match="No space"):
        sources.load("fashion_mnist", manual_dir=folder, data_dir=tmp_path / "data")
    assert everything(tmp_path) == before


def test_a_data_dir_that_is_a_file(tiny, tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(BadInput, match=r"config.data.data_dir"):
        sources.load("fashion_mnist", manual_dir=tiny[0], data_dir=tmp_path / "data")


def test_a_damaged_prepared_set(tiny, tmp_path):
    where = {"data_dir": tmp_path / "data", "validation": 20}
    sources.load("fashion_mnist", manual_dir=tiny[0], **where)
    (shard,) = (tmp_path / "data").rglob("*-train.array_record*")
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"cannot be read .* remove it"):
        sources.load("fashion_mnist", **where)


def test_another_process_may_be_faster(tiny, tmp_path, monkeypatch):
    folder, data = tiny
    files, _ = originals.find("fashion_mnist", folder)
    rename = os.rename
    others = []

    def late(source, target):
        monkeypatch.setattr(os, "rename", rename)
        others.append(builders.prepare("fashion_mnist", tmp_path, files))
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    final = builders.prepare("fashion_mnist", tmp_path, files)
    assert others == [final] == [tmp_path / "latentgen_fashion_mnist" / "1.0.0"]
    check(sources.load("fashion_mnist", data_dir=tmp_path, validation=20), data, 20)
    assert not [p for p in everything(tmp_path) if ".latentgen" in p]


# originals from elsewhere


def test_debian_comes_after_the_named_folder(tiny, tmp_path, monkeypatch):
    folder, data = tiny
    monkeypatch.setattr(originals, "DEBIAN", {"fashion_mnist": folder})
    dataset = sources.load("fashion_mnist", data_dir=tmp_path / "data", validation=20)
    assert dataset.origin == "Debian's dataset-fashion-mnist"
    check(dataset, data, 20)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"lacks train-images-idx3-ubyte.gz, "):
        sources.load("fashion_mnist", data_dir=tmp_path / "x", manual_dir=tmp_path / "empty")


@pytest.fixture
def served(tiny, monkeypatch):
    """`tiny`, with its originals on a server instead of in a named folder."""
    folder, data = tiny
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *a: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        base = f"http://127.0.0.1:{server.server_port}/"
        known = {
            split: tuple(o._replace(url=base + o.file) for o in files)
            for split, files in originals.ORIGINALS["fashion_mnist"].items()
        }
        monkeypatch.setitem(originals.ORIGINALS, "fashion_mnist", known)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, data
        server.shutdown()
        thread.join()


def test_the_download(served, tmp_path):
    _, data = served
    dataset = sources.load("fashion_mnist", data_dir=tmp_path / "data", validation=20)
    assert dataset.origin == "download"
    check(dataset, data, 20)


def test_the_download_is_checked(served, tmp_path):
    folder, _ = served
    # the same content in another gzip: of a download, the file itself must be the publisher's
    other = folder / "train-labels-idx1-ubyte.gz"
    other.write_bytes(gzip.compress(gzip.decompress(other.read_bytes()), 1, mtime=1))
    before = everything(tmp_path)
    with pytest.raises(BadInput, match="wrong checksum"):
        sources.load("fashion_mnist", data_dir=tmp_path / "data")
    assert everything(tmp_path) == before


def test_a_failed_download_says_how_to_supply_the_files(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    before = everything(tmp_path)
    with pytest.raises(BadInput, match=r"storage.googleapis.com") as caught:
        sources.load("mnist", data_dir=tmp_path / "data")
    message = str(caught.value)
    assert "\n" not in message
    assert "--manual_dir" in message
    assert "t10k-labels-idx1-ubyte.gz" in message
    assert everything(tmp_path) == before


def test_the_checksums_are_those_of_tfds():
    root = tfds.core.utils.tfds_path()
    paths = {n: root / "url_checksums" / f"{n}.txt" for n in originals.ORIGINALS}
    paths["binarized_mnist"] = root / "datasets" / "binarized_mnist" / "checksums.tsv"
    for name, path in paths.items():
        theirs = {}
        for line in path.read_text().splitlines():
            if line.strip():
                url, size, digest = line.split("\t")[:3]
                theirs[url] = (int(size), digest)
        files = [o for split in originals.ORIGINALS[name].values() for o in split]
        assert {o.url: (o.size, o.sha256) for o in files} == theirs


def test_binarized_mnist_has_its_own_validation_split(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    folder = tmp_path / "binarized_mnist"
    folder.mkdir()
    known, data = {}, {}
    for split, short, n in (("train", "train", 9), ("validation", "valid", 4), ("test", "test", 3)):
        x = rng.integers(0, 2, (n, 784))
        data[split] = x
        content = "".join(" ".join(map(str, row)) + "\n" for row in x.tolist()).encode()
        name = f"binarized_mnist_{short}.amat"
        (folder / name).write_bytes(content)
        digest = sha256(content)
        known[split] = (Original(f"http://x.invalid/{name}", len(content), digest, digest),)
    monkeypatch.setitem(originals.ORIGINALS, "binarized_mnist", known)
    dataset = sources.load("binarized_mnist", data_dir=tmp_path / "data", manual_dir=tmp_path)
    assert list(dataset.splits) == ["train", "validation", "test"]
    for split, x in data.items():
        examples = dataset.splits[split]
        np.testing.assert_array_equal(examples.x, 255 * x.reshape(-1, 28, 28, 1))
        np.testing.assert_array_equal(examples.label, np.zeros(len(x)))
    none = sources.load("binarized_mnist", data_dir=tmp_path / "data", validation=0)
    assert list(none.splits) == ["train", "test"]
    with pytest.raises(BadInput, match=r"config.data.validation=3 must be None, 0 or 4"):
        sources.load("binarized_mnist", data_dir=tmp_path / "data", validation=3)


# sets that TFDS has prepared


class TinyColours(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set prepared by somebody else; its PNGs are encoded with pillow instead of TensorFlow."""

    name = "tiny_colours"
    VERSION = tfds.core.Version("2.1.0")
    shape = (6, 5, 3)
    feature = "image"
    size = 30

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    self.feature: tfds.features.Image(shape=self.shape, encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=3),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0), "test": self._generate_examples(1)}

    def _generate_examples(self, seed):
        import io

        from PIL import Image

        for i, (x, label) in enumerate(zip(*colours(seed, self.size), strict=True)):
            png = io.BytesIO()
            Image.fromarray(x).save(png, "png")
            yield i, {self.feature: io.BytesIO(png.getvalue()), "label": label}


def colours(seed, n=30):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 6, 5, 3), dtype=np.uint8), rng.integers(0, 3, n).tolist()


def build(cls, data_dir, **attributes):
    variant = type("Variant", (cls,), attributes, skip_registration=True)
    variant.name = attributes.get("name", cls.name)
    variant(data_dir=data_dir).download_and_prepare(file_format="array_record")


def test_a_set_prepared_by_tfds_goes_by_its_name(tmp_path, monkeypatch):
    build(TinyColours, tmp_path)
    monkeypatch.chdir(tmp_path)  # where a folder has the same name
    assert (tmp_path / "tiny_colours").is_dir()
    dataset = sources.load("tiny_colours", data_dir=tmp_path, validation=4)
    assert dataset.version == "2.1.0"
    (x, label), (test_x, test_label) = colours(0), colours(1)
    check(dataset, {"train": (x, np.array(label)), "test": (test_x, np.array(test_label))}, 4)
    with pytest.raises(BadInput, match="did you mean 'tiny_colours'"):
        sources.load("tiny_colors", data_dir=tmp_path)


class TfdsBinarizedMnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A copy of TFDS's own set: no labels, and pixels of 0 and 1."""

    name = "binarized_mnist"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8)
        features = tfds.features.FeaturesDict({"image": image})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {
            s: self._generate_examples(n) for s, n in zip(sources.SPLITS, (9, 4, 3), strict=True)
        }

    def _generate_examples(self, n):
        for i in range(n):
            yield i, {"image": np.full((28, 28, 1), i % 2, np.uint8)}


def test_what_tfds_prepared_itself_comes_before_any_original(tmp_path):
    build(TfdsBinarizedMnist, tmp_path)
    dataset = sources.load("binarized_mnist", data_dir=tmp_path, manual_dir=tmp_path / "none")
    assert dataset.origin == f"prepared by TFDS in {tmp_path / 'binarized_mnist' / '1.0.0'}"
    assert {s: len(e.x) for s, e in dataset.splits.items()} == {
        "train": 9,
        "validation": 4,
        "test": 3,
    }
    assert dataset.splits["train"].x[:, 0, 0, 0].tolist() == [0, 255] * 4 + [0]


def test_one_pixel_changes_the_identity(tmp_path, monkeypatch):
    build(TinyColours, tmp_path / "a")
    plain = colours

    def one_pixel(seed, n=30):
        x, label = plain(seed, n)
        x[2, 3, 3, 0] ^= 1
        return x, label

    monkeypatch.setitem(globals(), "colours", one_pixel)
    build(TinyColours, tmp_path / "b")
    found = []
    for folder in ("a", "a", "b"):  # the second time from the cache
        dataset = sources.load("tiny_colours", data_dir=tmp_path / folder, validation=4)
        assert isinstance(dataset.splits["train"].x, np.memmap)
        found.append(sources.identity(dataset, "unit")["sha256"])
        computed = sources.identity(dataset._replace(sha256=None), "unit")["sha256"]
        assert computed == found[-1]
    assert found[0] == found[1] != found[2]


def test_what_counts_as_prepared(tmp_path):
    for folder in ("a/1.0.0", "a/1.10.0", "a/1.9.0", "b/c/2.0.0", "d/1.0.0.incompleteX", "e"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "dataset_info.json").touch()
    scratch = tmp_path / ".latentgen_killed" / "latentgen_mnist" / "1.0.0"
    scratch.mkdir(parents=True)
    (scratch / "dataset_info.json").touch()
    (tmp_path / "f" / "1.0.0").mkdir(parents=True)
    expected = {"a": tmp_path / "a" / "1.10.0", "b/c": tmp_path / "b" / "c" / "2.0.0"}
    assert tfds_source.prepared(tmp_path) == expected


def test_sets_we_cannot_use(tmp_path):
    build(TinyColours, tmp_path, shape=(None, None, 3))
    with pytest.raises(BadInput, match="one fixed shape"):
        sources.load("tiny_colours", data_dir=tmp_path)
    other = tmp_path / "other"
    build(TinyColours, other, feature="picture")
    with pytest.raises(BadInput, match="needs a feature 'image'"):
        sources.load("tiny_colours", data_dir=other)
    info = other / "tiny_colours" / "2.1.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(BadInput, match="array_record"):
        sources.load("tiny_colours", data_dir=other)


# the real thing


@pytest.fixture(scope="module")
def real(fashion_mnist, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    return data_dir, sources.load("fashion_mnist", data_dir=data_dir)


@pytest.mark.long
def test_fashion_mnist_from_debian(real):
    data_dir, dataset = real
    assert dataset.origin == "Debian's dataset-fashion-mnist"
    sizes = {s: e.x.shape for s, e in dataset.splits.items()}
    assert sizes == {
        "train": (55_000, 28, 28, 1),
        "validation": (5_000, 28, 28, 1),
        "test": (10_000, 28, 28, 1),
    }
    # an ankle boot, two tops, a dress; an ankle boot, a pullover, two trousers
    assert dataset.splits["train"].label[:4].tolist() == [9, 0, 0, 3]
    assert dataset.splits["test"].label[:4].tolist() == [9, 2, 1, 1]
    train = np.concatenate([dataset.splits[s].label for s in ("train", "validation")])
    assert np.bincount(train).tolist() == [6000] * 10
    pixels = [dataset.splits[s].x.astype(np.float64).sum() for s in ("train", "validation")]
    # the published mean of the training pixels
    assert abs(sum(pixels) / (60_000 * 784 * 255) - 0.2860) < 5e-5

    start = time.perf_counter()
    again = sources.load("fashion_mnist", data_dir=data_dir)
    assert time.perf_counter() - start < 0.5
    assert again.origin.startswith("prepared by TFDS in")
    for split, examples in dataset.splits.items():
        np.testing.assert_array_equal(again.splits[split].x, examples.x)
        np.testing.assert_array_equal(again.splits[split].label, examples.label)
