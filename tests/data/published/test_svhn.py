import numpy as np
import pytest
from scipy.io import savemat


def _write(path, n=4, **changes):
    x = np.random.default_rng(0).integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
    y = (np.arange(n, dtype=np.uint8)[:, None] % 10) + 1
    y[-1] = 10
    savemat(path, {"X": x, "y": y} | changes, do_compression=True)
    return x, y


def test_images_stand_upright_and_ten_is_zero(tmp_path, read):
    files = {f"{s}_32x32.mat": tmp_path / f"{s}_32x32.mat" for s in ("train", "test")}
    for n, (name, path) in enumerate(files.items(), 4):
        x, y = _write(path, n)
        found = read("svhn", files, name.partition("_")[0])
        np.testing.assert_array_equal(found.x, np.stack([x[..., i] for i in range(n)]))
        np.testing.assert_array_equal(found.label, y[:, 0] % 10)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"X": np.zeros((32, 32, 4), np.uint8)}, "no X of 32 x 32 x 3 x n bytes"),
        ({"y": np.ones((3, 1), np.uint8)}, "no y of 4 integers"),
        ({"y": np.full((4, 1), 11, np.uint8)}, "a label is 11, of 10 classes"),
    ],
)
def test_other_arrays_are_refused(tmp_path, refused, changes, problem):
    path = tmp_path / "train_32x32.mat"
    _write(path, **changes)
    assert problem in refused("svhn", {path.name: path})


@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_a_truncated_file_is_refused(tmp_path, refused, kept):
    path = tmp_path / "train_32x32.mat"
    _write(path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    assert str(path) in refused("svhn", {path.name: path})
