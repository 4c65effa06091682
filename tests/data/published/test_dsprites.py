import io

import numpy as np
import pytest

from latentgen.data.published import PUBLISHED

NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"


def _npy(x):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, x, allow_pickle=True)
    return buffer.getvalue()


class _Executes:
    def __reduce__(self):
        return pytest.fail, ("the metadata were unpickled",)


def _arrays(n=5):
    rng = np.random.default_rng(0)
    return {
        "metadata": np.array(_Executes(), object),
        "imgs": rng.integers(0, 2, (n, 64, 64), dtype=np.uint8),
        "latents_classes": rng.integers(0, [1, 3, 6, 40, 32, 32], (n, 6)),
        "latents_values": rng.random((n, 6)),
    }


def _files(pack, arrays):
    return {NAME: pack(NAME, {f"{k}.npy": _npy(v) for k, v in arrays.items()})}


@pytest.mark.parametrize("n", [5, 1_001])
def test_images_are_black_and_white_and_colour_is_no_factor(pack, read, n):
    arrays = _arrays(n)
    found = read("dsprites", _files(pack, arrays), "train")
    np.testing.assert_array_equal(found.x[..., 0], arrays["imgs"] * 255)
    np.testing.assert_array_equal(found.factors, arrays["latents_classes"][:, 1:])
    np.testing.assert_array_equal(found.label, arrays["latents_classes"][:, 1])


def test_there_is_an_image_for_each_combination():
    published = PUBLISHED["dsprites"]
    assert np.prod(list(published.factors.values())) == published.splits["train"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"imgs": np.zeros((5, 64, 64), np.int64)}, "no bytes (n, 64, 64)"),
        ({"imgs": np.zeros((5, 32, 64), np.uint8)}, "no bytes (n, 64, 64)"),
        ({"imgs": np.zeros((4, 64, 64), np.uint8)}, "4 images and 5 rows"),
        ({"imgs": np.full((5, 64, 64), 2, np.uint8)}, "a pixel is 2, not 0 or 1"),
        ({"imgs": np.zeros((5, 64, 64), np.uint8).T}, "is not supported"),
        ({"imgs": np.array([{}] * 5, object)}, "is not supported"),
        ({"latents_classes": np.full((5, 6), 3)}, "not below its number of values"),
        ({"latents_classes": np.full((5, 6), -1)}, "not below its number of values"),
    ],
)
def test_other_arrays_are_refused(pack, refused, change, problem):
    assert problem in refused("dsprites", _files(pack, _arrays() | change))


@pytest.mark.parametrize("content", [b"", b"no array", _npy(_arrays()["imgs"])[:-1]])
def test_damaged_arrays_are_refused(pack, refused, content):
    members = {f"{k}.npy": _npy(v) for k, v in _arrays().items()} | {"imgs.npy": content}
    assert "damaged" in refused("dsprites", {NAME: pack(NAME, members)})


def test_missing_arrays_and_truncated_archives_are_refused(pack, refused):
    files = _files(pack, {k: v for k, v in _arrays().items() if k != "latents_classes"})
    assert "no member latents_classes.npy" in refused("dsprites", files)
    path = files[NAME]
    path.write_bytes(path.read_bytes()[:-10])
    assert str(path) in refused("dsprites", files)
