"""What every test runs under: JAX on the CPU, no implicit ranks, shapes checked at run time."""

import os
from collections.abc import Iterator
from pathlib import Path

# Before jax is imported; an accelerator is tested by setting it from outside.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the time goes into compiling small programs. Commands are tested as users run them, with
# all optimizations (doors.py).
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")

# Before latentgen is imported: its annotations hold, for types and array shapes alike.
install_import_hook("latentgen", "beartype.beartype")

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision within one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of Debian's dataset-fashion-mnist; without it, a skip, or under CI a failure."""
    missing = [name for name in FILES if not (FASHION_MNIST / f"{name}-ubyte.gz").is_file()]
    if missing:
        complain = pytest.fail if os.environ.get("LATENTGEN_CI") else pytest.skip
        complain(f"needs Debian's dataset-fashion-mnist: {', '.join(missing)} missing")
    return FASHION_MNIST


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_file() -> Iterator[None]:
    """What a file has compiled goes with it: no other needs it, and it comes to gigabytes."""
    yield
    jax.clear_caches()
