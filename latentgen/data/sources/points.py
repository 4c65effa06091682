"""Toy sets of points in the plane."""

from latentgen.data import toys
from latentgen.data.dataset import DataSet, Examples, cut
from latentgen.data.sources.base import Request, Source

HELD_OUT = 10_000  # for validation, and as many for the test split


def _points(request: Request) -> DataSet:
    x, label = toys.points(request.name)
    return DataSet(request.name, "1.0.0", "computed", cut(Examples(x, label), HELD_OUT, "test"))


SOURCES = {name: Source(_points, held_out=HELD_OUT) for name in toys.TOYS}
