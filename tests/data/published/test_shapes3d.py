import importlib.util
import os
import sys

import numpy as np
import pytest

from latentgen.data.published import PUBLISHED

VALUES = (
    *(np.arange(10) / 10,) * 3,
    np.linspace(0.75, 1.25, 8),
    np.arange(4.0),
    np.linspace(-30, 30, 15),
)


@pytest.fixture
def h5py():
    """The module h5py; without it, a skip, or under CI a failure."""
    if importlib.util.find_spec("h5py") is None:
        complain = pytest.fail if os.environ.get("LATENTGEN_CI") else pytest.skip
        complain("needs h5py")
    return importlib.import_module("h5py")


def _data(n=20):
    rng = np.random.default_rng(0)
    index = rng.integers(0, [len(v) for v in VALUES], (n, 6))
    index[:15] = np.minimum(np.arange(15)[:, None], [len(v) - 1 for v in VALUES])
    values = np.stack([v[i] for v, i in zip(VALUES, index.T, strict=True)], axis=1)
    return {
        "images": rng.integers(0, 256, (n, 64, 64, 3), dtype=np.uint8),
        "labels": values,
    }, index


def _files(h5py, tmp_path, data):
    path = tmp_path / "3dshapes.h5"
    with h5py.File(path, "w") as file:
        for name, x in data.items():
            file.create_dataset(name, data=x)
    return {path.name: path}


def test_values_become_indices(h5py, tmp_path, read):
    data, index = _data()
    found = read("shapes3d", _files(h5py, tmp_path, data), "train")
    np.testing.assert_array_equal(found.x, data["images"])
    np.testing.assert_array_equal(found.factors, index)
    np.testing.assert_array_equal(found.label, index[:, 4])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"labels": np.full((20, 6), 0.55)}, "none of its factor's values"),
        ({"labels": np.zeros((20, 6))}, "none of its factor's values"),
        ({"labels": np.zeros((19, 6))}, "its labels are"),
        ({"images": np.zeros((20, 64, 64), np.uint8)}, "its images are"),
    ],
)
def test_other_arrays_are_refused(h5py, tmp_path, refused, change, problem):
    assert problem in refused("shapes3d", _files(h5py, tmp_path, _data()[0] | change))


def test_damaged_files_are_refused(h5py, tmp_path, refused):
    files = _files(h5py, tmp_path, {"labels": np.zeros((1, 6))})
    assert "no images and labels" in refused("shapes3d", files)
    path = files["3dshapes.h5"]
    path.write_bytes(path.read_bytes()[:-1_000])
    assert str(path) in refused("shapes3d", files)


def test_without_h5py_the_package_is_named(tmp_path, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    path = tmp_path / "3dshapes.h5"
    assert (
        refused("shapes3d", {path.name: path})
        == "shapes3d needs h5py: pip install latentgen[shapes3d]."
    )


def test_there_is_an_image_for_each_combination():
    published = PUBLISHED["shapes3d"]
    assert list(published.factors.values()) == [len(v) for v in VALUES]
    assert np.prod(list(published.factors.values())) == published.splits["train"]
