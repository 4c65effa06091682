"""Sets of the user: folders of pictures and arrays in files, by name in a config."""

import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest
from made_pictures import encoded, noise, write

from latentgen.core.errors import BadInput
from latentgen.data import sources
from latentgen.data.pictures import named
from latentgen.data.pictures.prepare import Options, prepare


def pictures(folder, names=range(30), mark=""):
    write(folder, {f"{mark}{'ab'[i % 2]}/{i:02}.png": encoded(noise(12, 9, i)) for i in names})


def load(name, tmp_path, **kwargs):
    return sources.load(name, data_dir=tmp_path / "data", **kwargs)


def test_a_folder_is_a_data_set_whatever_its_place_and_names(tmp_path):
    pictures(tmp_path / "one")
    pictures(tmp_path / "two", reversed(range(30)))
    for path in (tmp_path / "two").rglob("*.png"):
        path.rename(path.with_name(f"x{hash(path.name) % 997:03}{path.name}"))
    one = load(f"folder:{tmp_path / 'one'}", tmp_path, size=8)
    two = load(f"folder:{tmp_path / 'two'}", tmp_path, size=8)
    assert {s: e.x.shape for s, e in one.splits.items()} == {
        "train": (27, 8, 8, 3),
        "validation": (3, 8, 8, 3),
    }
    assert one.classes == ("a", "b")
    assert isinstance(one.splits["train"].x, np.memmap)
    assert sources.identity(one, "unit") == sources.identity(two, "unit")
    computed = sources.identity(one._replace(sha256=None), "unit")
    assert computed == sources.identity(one, "unit")
    one_more = [*range(30), 31]
    pictures(tmp_path / "three", one_more)
    three = load(f"folder:{tmp_path / 'three'}", tmp_path, size=8)
    assert sources.identity(three, "unit")["sha256"] != computed["sha256"]


def test_equal_pictures_are_never_in_two_splits(tmp_path):
    twice = {f"{i:02}-{k}.png": encoded(noise(8, 8, i)) for i in range(15) for k in range(3)}
    write(tmp_path / "in", twice)
    for n in (1, 2, 3, 4, 7):
        splits = load(f"folder:{tmp_path / 'in'}", tmp_path, size=8, validation=n).splits
        train, held_out = ({row.tobytes() for row in splits[s].x} for s in ("train", "validation"))
        assert not train & held_out
        assert n <= len(splits["validation"].x) < n + 3
        assert sum(len(e.x) for e in splits.values()) == 45


def test_a_named_set_keeps_its_held_out_part(tmp_path):
    pictures(tmp_path / "in")
    sets = tmp_path / "data" / "latentgen_sets"
    folder = prepare(tmp_path / "in", Options(8), sets, workers=0).folder
    named.write(sets, "mine", named.Named(folder.name, 0.5))
    assert len(load("mine", tmp_path).splits["validation"].label) == 15
    with pytest.raises(BadInput, match="did you mean 'mine'"):
        load("mime", tmp_path)
    with pytest.raises(BadInput, match=r"config.data.size=16 must be 0 for mine"):
        load("mine", tmp_path, size=16)


def test_a_damaged_prepared_folder_is_told(tmp_path):
    pictures(tmp_path / "in")
    name = f"folder:{tmp_path / 'in'}"
    load(name, tmp_path, size=8)
    (path,) = (tmp_path / "data").glob("latentgen_sets/*/train_x.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"train_x: not what was written.*remove it") as caught:
        load(name, tmp_path, size=8)
    assert "\n" not in str(caught.value)


def test_an_npy_file_is_mapped_and_its_channels_are_found(tmp_path):
    rng = np.random.default_rng(0)
    last = rng.integers(0, 256, (20, 6, 5, 3), np.uint8)
    np.save(tmp_path / "last.npy", last)
    np.save(tmp_path / "first.npy", last.transpose(0, 3, 1, 2))
    np.save(tmp_path / "float.npy", last / 255)
    np.save(tmp_path / "grey.npy", last[..., 0])
    found = {
        name: load(f"arrays:{tmp_path / name}.npy", tmp_path, validation=0).splits["train"].x
        for name in ("last", "first", "float", "grey")
    }
    assert isinstance(found["last"], np.memmap)
    for name in ("last", "first", "float"):
        np.testing.assert_array_equal(found[name], last)
    np.testing.assert_array_equal(found["grey"], last[..., :1])
    assert not list((tmp_path / "data").glob("latentgen_sets/*grey*"))


def test_an_npz_file_may_have_labels_and_splits(tmp_path):
    x, label = np.arange(40, dtype=np.uint8).reshape(10, 2, 2), np.arange(10) % 3
    np.savez(tmp_path / "plain.npz", x=x, label=label)
    splits = load(f"arrays:{tmp_path / 'plain.npz'}", tmp_path).splits
    assert {s: e.label.tolist() for s, e in splits.items()} == {
        "train": label[:9].tolist(),
        "validation": label[9:].tolist(),
    }
    np.savez(tmp_path / "split.npz", train_x=x[:6], test_x=x[6:], test_label=label[6:])
    splits = load(f"arrays:{tmp_path / 'split.npz'}", tmp_path, validation=0).splits
    np.testing.assert_array_equal(splits["test"].x[..., 0], x[6:])
    assert splits["train"].label.tolist() == [0] * 6
    assert splits["test"].label.tolist() == label[6:].tolist()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.zeros((3, 2, 2), np.uint8)}, "has y; valid: x and perhaps label"),
        ({"x": np.zeros((3, 2, 2), np.uint8), "y": np.arange(3)}, "has y; valid: x and perhaps"),
        ({"x": np.uint8(3)}, "is not images"),
        ({"x": np.zeros((3, 2, 2)), "label": np.arange(3) + 2**32}, "3 whole numbers in 0 .."),
        ({"x": np.zeros((4, 3, 9, 3), np.uint8)}, "could have its channels first or last"),
        ({"x": np.zeros((4, 9, 9, 2), np.uint8)}, "is not images"),
        ({"x": np.full((4, 9, 9), 2.0)}, r"floats in \[0, 1\]"),
        ({"x": np.zeros((4, 9, 9), np.int64)}, "must be uint8"),
        (
            {"x": np.zeros((4, 9, 9), np.uint8), "label": np.zeros(3, int)},
            "must be 4 whole numbers",
        ),
        ({"x": np.array([{}, {}], object)}, "cannot be read"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_a_line(arrays, words, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(BadInput, match=words) as caught:
        load(f"arrays:{tmp_path / 'a.npz'}", tmp_path)
    assert "\n" not in str(caught.value)


def test_an_npz_file_is_unpacked_onto_the_disk_if_it_fits_there(tmp_path, monkeypatch):
    """64 MiB of zeros in 64 KiB take neither the memory nor more disk than there is."""
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((2**14, 64, 64), np.uint8))
    name = f"arrays:{tmp_path / 'a.npz'}"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100 * 2**20))
    with pytest.raises(BadInput, match=r"preparing them takes 0.1 GiB, and 0.1 GiB are free"):
        load(name, tmp_path)
    monkeypatch.undo()
    tracemalloc.start()
    dataset = load(name, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset.splits["train"].x) == 2**14 - 2**14 // 10
    assert peak < 2**24
    (kept,) = (tmp_path / "data" / "latentgen_sets").iterdir()  # nothing else is left
    assert kept.name.startswith("arrays_")


@pytest.mark.parametrize(
    "name",
    [
        *("gone.npy", "text.npy", "text.npz", "x.txt", "other.npy", "other.npz", "member.npz"),
        *("empty.npz", "folder.npz"),
    ],
)
def test_files_that_are_no_arrays_are_refused(name, tmp_path):
    (tmp_path / f"text{name[-4:]}").write_text("words")
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2, 2), np.uint8))
    (tmp_path / "a.npz").rename(tmp_path / "other.npy")
    np.save(tmp_path / "a.npy", np.zeros((3, 2, 2), np.uint8))
    (tmp_path / "a.npy").rename(tmp_path / "other.npz")
    with zipfile.ZipFile(tmp_path / "member.npz", "w") as file:
        file.writestr("x", b"words")
    with zipfile.ZipFile(tmp_path / "empty.npz", "w") as file:
        file.writestr("x.npy", b"")
    with zipfile.ZipFile(tmp_path / "folder.npz", "w") as file:
        file.writestr("x/", b"")
    with pytest.raises(BadInput, match=r"config\.data\.name='arrays:"):
        load(f"arrays:{tmp_path / name}", tmp_path)


def test_sprites_have_their_factors_in_any_size_and_colour(tmp_path):
    color = load("sprites", tmp_path, size=16)
    grey = load("sprites", tmp_path, size=16, color="grey")
    assert color.shape == (16, 16, 3)
    assert grey.shape == (16, 16, 1)
    assert {s: len(e.label) for s, e in color.splits.items()} == {
        "train": 45_000,
        "validation": 5_000,
        "test": 10_000,
    }
    assert list(color.factors) == ["shape", "scale", "orientation", "x", "y", "hue"]
    for dataset, columns in ((color, 6), (grey, 5)):
        for examples in dataset.splits.values():
            assert examples.factors.shape == (len(examples.label), columns)
            np.testing.assert_array_equal(examples.factors[:, 0], examples.label)
    with pytest.raises(BadInput, match=r"config\.data\.size=8 must be from 16"):
        load("sprites", tmp_path, size=8)


def test_a_folder_of_pictures_is_no_data_dir(tmp_path):
    pictures(tmp_path / "in", range(3))
    with pytest.raises(BadInput, match=r"--config\.data\.name=folder:"):
        sources.check_data_dir("digits", tmp_path / "in")
    sources.check_data_dir("mnist", tmp_path / "in")
    sources.check_data_dir("digits", tmp_path / "none")
    (tmp_path / "in" / "latentgen_sets").mkdir()
    sources.check_data_dir("digits", tmp_path / "in")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "config.data.name='folder' needs a path: folder:PATH"),
        ("folder:", "config.data.name='folder:' needs a path: folder:PATH"),
        ("{}/in", "is a file or a folder; did you mean folder:"),
        ("{}/a.npz", "is a file or a folder; did you mean arrays:"),
    ],
)
def test_a_path_needs_its_scheme(name, said, tmp_path):
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2, 2), np.uint8))
    with pytest.raises(BadInput, match=said):
        load(name.format(tmp_path), tmp_path)


def test_grey_images_of_a_set_with_colours_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((30, 2, 2, 3), np.uint8))
    with pytest.raises(BadInput, match=r"config\.data\.color='grey' does not fit arrays"):
        load(f"arrays:{tmp_path / 'a.npz'}", tmp_path, color="grey")
