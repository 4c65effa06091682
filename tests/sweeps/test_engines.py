"""One sweep by three engines: the same runs, the same files, the same columns, the same figures."""

import csv
from pathlib import Path

import cluster
import commands
import pytest

from latentgen.storage import status
from latentgen.sweeps import folder, results
from latentgen.sweeps.engines import slurm

# Of a figure after 100 steps, relative or absolute: a population rounds otherwise than a run alone.
TOLERANCE = 2e-3
GRID = [
    "--grid=config.generator_optimizer.lr=0.001,0.003",
    "--grid=config.method.loss=minimax,nonsaturating",
    "--seeds=0:3",
]
SHORT = [
    *("--config.steps=100", "--config.every.log=50", "--config.every.validate=100"),
    *("--config.every.sample=100", "--config.every.checkpoint=100"),
]
ENGINES = {
    "vmap": [],
    "local": ["--jobs=2"],
    "slurm": ["--at_once=2", "--time=20"],
}
OWN = {"seconds"}  # columns that tell of the machine


def files(sweep: folder.Sweep) -> set[str]:
    """The runs' files, those apart whose names say when, or which engine it was."""
    places = [sweep.run_folder(member.run) for member in sweep.members]
    return {
        str(path.relative_to(sweep.folder))
        for place in places
        for path in place.rglob("*")
        if path.is_file() and "events" not in path.name and path.name != folder.LOG
        if not {"checkpoints"} & set(path.parts)
    }


@pytest.mark.long
def test_three_engines_leave_the_same(
    in_cluster: cluster.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, there = {}, {}
    for engine, own in ENGINES.items():
        place = tmp_path / engine
        flags = [*commands.tiny("gan"), *SHORT, *GRID, f"--workdir={place}", f"--engine={engine}"]
        done = commands.run("sweep", *flags, *own)
        assert done.returncode == 0, done.stderr
        if engine == "slurm":
            assert "12 runs submitted" in done.stderr
            cluster.wait(lambda at=place: not slurm.queued(at), 240, "an empty queue")
        sweep = folder.load(place)
        rows = results.write(sweep)
        assert [row["status"] for row in rows] == [status.DONE] * 12
        assert all(status.read(sweep.run_folder(m.run)).attempts == 1 for m in sweep.members)
        tables[engine] = list(csv.reader((place / "results.csv").read_text().splitlines()))
        there[engine] = files(sweep)
    columns, *vmapped = tables["vmap"]
    assert there["vmap"] == there["local"] == there["slurm"]
    assert len(there["vmap"]) > 12 * 5
    for engine in ("local", "slurm"):
        assert tables[engine][0] == columns
        for a, b in zip(tables[engine][1:], vmapped, strict=True):
            for name, x, y in zip(columns, a, b, strict=True):
                if "/" in name:
                    assert float(x) == pytest.approx(float(y), rel=TOLERANCE, abs=TOLERANCE), name
                elif name not in OWN:
                    assert x == y, name
    # A process alone and a job do bitwise the same.
    assert [
        [x for name, x in zip(columns, row, strict=True) if name not in OWN]
        for row in tables["local"]
    ] == [
        [x for name, x in zip(columns, row, strict=True) if name not in OWN]
        for row in tables["slurm"]
    ]
