"""Weights on disk: what comes back, that its bytes are a stable identity, and what is refused."""

import hashlib
import os
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.networks import weights

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3) / 3
PARAMS = {
    "params": {"b": {"kernel": KERNEL, "bias": np.array([1e-3, 7e4], np.float32)}},
    "batch_stats": {"a": {"var": np.array(0.1, np.float32)}},
}
# Written once and looked up since: other bytes would be other weights to whoever has cited them.
SHA256 = "d53e5019bec034d9f28f736f9295eabc62d7304115729a3911dd75be9e847028"


def save(path, params, dtype=np.float32):
    content = weights.packed(params, dtype)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_what_was_saved_comes_back(tmp_path):
    path = tmp_path / "weights.npz"
    said = save(path, PARAMS)
    found, sha256 = weights.load(path)
    assert sha256 == said == hashlib.sha256(path.read_bytes()).hexdigest()
    assert jax.tree.structure(found) == jax.tree.structure(PARAMS)
    for x, expected in zip(jax.tree.leaves(found), jax.tree.leaves(PARAMS), strict=True):
        assert isinstance(x, jax.Array)
        assert x.dtype == jnp.float32
        np.testing.assert_array_equal(x, expected)
    assert os.listdir(tmp_path) == ["weights.npz"]


def test_numpy_reads_it(tmp_path):
    save(tmp_path / "weights.npz", PARAMS)
    with np.load(tmp_path / "weights.npz") as file:
        assert file.files == ["batch_stats/a/var", "params/b/bias", "params/b/kernel"]
        np.testing.assert_array_equal(file["params/b/kernel"], KERNEL)


def test_numpy_may_write_it(tmp_path):
    np.savez_compressed(tmp_path / "weights.npz", **{"params/b/kernel": KERNEL.astype(np.float64)})
    found, _ = weights.load(tmp_path / "weights.npz")
    np.testing.assert_array_equal(found["params"]["b"]["kernel"], KERNEL)


def test_the_same_arrays_are_the_same_bytes(tmp_path, monkeypatch):
    """Whatever the order of keys, the layout in memory, the kind of array, the time and place."""
    b = {"bias": PARAMS["params"]["b"]["bias"], "kernel": np.asfortranarray(KERNEL)}
    other = {"batch_stats": jax.tree.map(jnp.asarray, PARAMS["batch_stats"]), "params": {"b": b}}
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert save(tmp_path / "another", other) == SHA256
    assert save(tmp_path / "weights.npz", PARAMS) == SHA256
    changed = jax.tree.map(lambda x: np.nextafter(x, np.float32(9)), PARAMS)
    assert save(tmp_path / "weights.npz", changed) != SHA256


def test_halves(tmp_path):
    small = {"kernel": KERNEL, "bias": np.array([np.inf, np.nan, 1e-3], np.float32)}
    save(tmp_path / "half", small, dtype=np.float16)
    with np.load(tmp_path / "half") as file:
        assert file["kernel"].dtype == np.float16
    found, _ = weights.load(tmp_path / "half")
    for name, expected in small.items():
        assert found[name].dtype == jnp.float32
        np.testing.assert_allclose(found[name], expected, rtol=2**-11)
    assert (np.asarray(found["kernel"]) != KERNEL).any()


def test_what_does_not_fit_is_not_written(tmp_path):
    with pytest.raises(BadInput, match=r"dtype=float16 is too narrow .* 'params/b/bias'"):
        save(tmp_path / "half", PARAMS, dtype=np.float16)
    assert os.listdir(tmp_path) == []


def flipped(content):
    place = content.index(KERNEL.tobytes())
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not weights at all",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        flipped,
    ],
    ids=["empty", "text", "one byte short", "half", "one bit"],
)
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "weights.npz"
    save(path, PARAMS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInput, match=r"weights='.*weights.npz' is not a whole .npz file"):
        weights.load(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be read: No such file or directory"):
        weights.load(tmp_path / "missing")
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        weights.load(tmp_path)
    np.save(tmp_path / "array.npy", KERNEL)
    np.savez(tmp_path / "words.npz", x=np.array(["words"]))
    np.savez(tmp_path / "whole.npz", x=np.arange(3))
    np.savez(tmp_path / "objects.npz", x=np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "clash.npz", **{"x": KERNEL, "x/y": KERNEL})
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("x.npy", "text")
    for path in tmp_path.iterdir():
        with pytest.raises(BadInput, match=r"is not a whole \.npz file of floats"):
            weights.load(path)
