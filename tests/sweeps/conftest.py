"""A Slurm that all tests of the launchers share."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cluster
import pytest


@pytest.hookimpl(tryfirst=True)  # before -m selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a Slurm are long."""
    for item in items:
        if "slurm_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[cluster.Cluster]:
    """A running Slurm of one node; where there can be none, a skip, or under CI a failure."""
    why = cluster.missing()
    if why is None and importlib.util.find_spec("submitit") is None:
        why = "needs submitit"
    if why is not None:
        complain = pytest.fail if os.environ.get("LATENTGEN_CI") else pytest.skip
        complain(why)
    # A slurm.conf holds no path with a space, which TMPDIR may have.
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="slurm-") as folder,
        cluster.start(Path(folder)) as running,
    ):
        yield running


@pytest.fixture
def in_cluster(slurm_cluster: cluster.Cluster, monkeypatch: pytest.MonkeyPatch) -> cluster.Cluster:
    """The same, used by this process and those that it starts."""
    for key, value in slurm_cluster.env.items():
        monkeypatch.setenv(key, value)
    return slurm_cluster


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """An empty folder of a sweep."""
    folder = tmp_path / "sweep, the first"  # a folder's name may be anything
    (folder / "runs").mkdir(parents=True)
    return folder
