"""Experiments' configs as plain data, and runs of them on images from memory.

Nothing here needs ml_collections, Grain or TensorFlow Datasets, which a machine with a GPU may lack
and no package registry may be at hand for.
"""

import contextlib
import importlib.util
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from latentgen import configs
from latentgen.data.dataset import DataSet, Examples
from latentgen.training import setup

EXPERIMENTS = Path(__file__).parents[2]
Config = dict[str, Any]


class StandIn(dict):
    """The little of ml_collections.ConfigDict that experiments use, where it is not installed."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.update(values or {})

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, StandIn(value) if type(value) is dict else value)

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError as error:
            raise AttributeError(key) from error

    __setattr__ = __setitem__

    def update(self, *values: Mapping[str, Any], **more: Any) -> None:
        """Merge sections key by key, as ConfigDict.update does."""
        for key, value in dict(*values, **more).items():
            if isinstance(self.get(key), StandIn) and isinstance(value, dict):
                self[key].update(value)
            else:
                self[key] = value

    def to_dict(self) -> Config:
        """The same as plain dicts."""
        return {k: v.to_dict() if isinstance(v, StandIn) else v for k, v in self.items()}


@contextlib.contextmanager
def ml_collections_or_stand_in() -> Iterator[None]:
    """Let experiments import ml_collections within this block, whether it is installed or not."""
    if importlib.util.find_spec("ml_collections") is not None:
        yield
        return
    package, part = ModuleType("ml_collections"), ModuleType("ml_collections.config_dict")
    package.ConfigDict = part.ConfigDict = StandIn  # type: ignore[attr-defined]
    part.placeholder = lambda kind: None  # type: ignore[attr-defined]
    package.config_dict = part  # type: ignore[attr-defined]
    made = {"ml_collections": package, "ml_collections.config_dict": part}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)


def config(experiment: str, changes: Mapping[str, Any]) -> Config:
    """The config of 'file:variant' in experiments/, as plain data.

    Args:
        changes: dotted key -> value in place of the experiment's own.
    """
    file, _, variant = experiment.partition(":")
    with ml_collections_or_stand_in():
        get_config = runpy.run_path(str(EXPERIMENTS / f"{file}.py"))["get_config"]
        found = (get_config(variant) if variant else get_config()).to_dict()
    for key, value in changes.items():
        *path, name = key.split(".")
        section = found
        for part in path:
            section = section[part]
        if name not in section:
            raise KeyError(f"{experiment} has no {key}")
        section[name] = value
    return found


def both(a: str, b: str, **changes: Any) -> Config:
    """The same changes to two networks or optimizers of a config."""
    return {f"{part}.{key}": value for part in (a, b) for key, value in changes.items()}


def images(n: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random uint8 images: speed does not depend on what is in them."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def run_of(config: Config, x: np.ndarray) -> setup.Run:
    """The run of this config that trains on `x`."""
    experiment = configs.experiment(config)
    train = Examples(x, np.zeros(len(x), np.int32))
    dataset = DataSet("memory", "0.0.0", "images from memory", {"train": train})
    method = experiment.plan.wire(dataset.shape)
    looks = setup.make_eval_fns(lambda _: method, method, dataset.shape)({})
    return setup.Run(Path(), config, experiment, dataset, method, looks)
