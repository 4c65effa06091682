"""Workdirs of every release so far: what they hold is found, and a run goes on from it.

Run it with the oldest, the pinned and the newest versions of what the project depends on.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from golden.make import STEPS, found
from small import figures

from latentgen.storage.checkpoint import by_path
from latentgen.storage.workdir import read_json
from latentgen.training import setup, trainer

GOLDEN = Path(__file__).parent / "golden"
WORKDIRS = sorted(place.parent.relative_to(GOLDEN) for place in GOLDEN.glob("*/*/config.json"))


@pytest.fixture(params=WORKDIRS, ids=str)
def workdir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, which may be written to."""
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / "run"))


def numbers(rows: list[str]) -> np.ndarray:
    return np.array([[float(word) for word in row.split()] for row in rows])


def test_there_is_one_of_each() -> None:
    assert {place.name for place in WORKDIRS} == {"vae", "gan"}


def test_every_leaf_is_what_was_saved_and_generates_what_it_did(workdir: Path) -> None:
    expected = read_json(workdir / "expected.json")
    now = found(setup.reopen(workdir, None, None))
    assert list(expected) == [str(step) for step in STEPS]
    for step, what in expected.items():
        assert now[step]["leaves"] == what["leaves"]
        # XLA's versions may round otherwise.
        np.testing.assert_allclose(
            numbers(now[step]["samples"]), numbers(what["samples"]), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(
    "workdir",
    [pytest.param(p, marks=pytest.mark.long if p.name == "vae" else ()) for p in WORKDIRS],
    indirect=True,
    ids=str,
)
def test_it_goes_on_from_the_middle_as_it_went_on_then(workdir: Path) -> None:
    first, last = STEPS
    whole = setup.reopen(workdir, None, None)
    said, (_, then) = figures(workdir), setup.restore(whole, last)
    (workdir / "summary.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / str(last))
    trainer.train(whole)
    at, now = setup.restore(whole, None)
    assert at == last
    for (name, x), y in zip(by_path(now).items(), by_path(then).values(), strict=True):
        np.testing.assert_allclose(
            np.asarray(x, float), np.asarray(y, float), rtol=1e-3, atol=1e-4, err_msg=name
        )
    lines = figures(workdir)
    assert [(line["step"], line["split"]) for line in lines] == [
        (line["step"], line["split"]) for line in said
    ]
    assert lines[: len(lines) // 2] == said[: len(said) // 2]
    assert first in {line["step"] for line in lines[: len(lines) // 2]}
