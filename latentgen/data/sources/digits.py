"""Scikit-learn's handwritten digits."""

import importlib.util
from pathlib import Path

import numpy as np

from latentgen.core.errors import BadInput
from latentgen.data.dataset import DataSet, Examples, cut
from latentgen.data.sources.base import Request, Source


def _digits(request: Request) -> DataSet:
    """Load scikit-learn's 1,797 digits, 8 x 8 grey values 0..16 scaled to round(v * 255 / 16).

    They are shuffled in a fixed order, because the original is sorted by writer. The last 200 are
    the test split.
    """
    # Read the package's file directly, because importing scikit-learn is slow.
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise BadInput("config.data.name='digits' needs scikit-learn: pip install scikit-learn.")
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    if path.is_file():
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
        values, target = table[:, :64], table[:, 64]
    else:
        from sklearn.datasets import load_digits

        values, target = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(values))
    x = np.rint(values[order] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    label = target[order].astype(np.int32)
    return DataSet("digits", "1.0.0", "scikit-learn", cut(Examples(x, label), 200, "test"))


SOURCES = {"digits": Source(_digits, held_out=200)}
