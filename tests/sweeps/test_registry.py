"""The engine that 'auto' selects, for a sweep and for the ledger alike."""

from pathlib import Path

import pytest

from experiments import gan
from latentgen.baselines import running
from latentgen.core.errors import BadInput
from latentgen.sweeps.engines import local, registry, vmap
from latentgen.sweeps.engines.local import Devices
from latentgen.sweeps.folder import Sweep
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import Member, members


@pytest.mark.parametrize(
    ("engine", "devices", "jobs", "found", "measure"),
    [
        ("auto", 1, None, "vmap", True),
        ("auto", 4, None, "local", False),
        ("auto", 1, 2, "local", False),
        ("vmap", 4, 2, "vmap", False),
        ("local", 1, None, "local", False),
        ("slurm", 4, None, "slurm", False),
    ],
)
def test_auto_follows_devices_and_jobs_and_other_engines_stay(
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    devices: int,
    jobs: int | None,
    found: str,
    measure: bool,
) -> None:
    monkeypatch.setattr(local, "devices", lambda: Devices("gpu", devices))
    options = Options(data_dir="data", jobs=jobs)
    expected = (found, options._replace(measure=measure))
    assert registry.settled(engine, options, [member()]) == expected


def member(**changes: int) -> Member:
    return Member("run", "setting", 0, {}, changes)


def test_a_run_that_may_leave_out_steps_is_not_one_of_many() -> None:
    some = [member(), member(skip_diverged=2)]
    assert registry.settled("auto", Options(), some)[0] == "local"
    with pytest.raises(BadInput, match=r"config\.skip_diverged=2 must be 0"):
        vmap.check(some)


def test_runs_of_which_no_two_are_one_program_are_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "devices", lambda: Devices("cpu", 1))
    rows = [{"config.method.loss": loss} for loss in ("nonsaturating", "minimax")]
    for seeds, found in ((1, "local"), (2, "vmap")):
        every = [row | {"config.seed": seed} for row in rows for seed in range(seeds)]
        assert registry.settled("auto", Options(), members(gan.get_config(), every))[0] == found


@pytest.mark.parametrize(("name", "measure"), [("local", False), ("vmap", True)])
def test_the_ledger_trains_with_what_auto_settles_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, measure: bool
) -> None:
    called = []
    for engine in ("local", "vmap"):
        train = lambda *given, engine=engine: called.append((engine, given[2]))  # noqa: E731
        known = registry.ENGINES[engine]
        monkeypatch.setitem(registry.ENGINES, engine, known._replace(train=train))
    monkeypatch.setattr(local, "devices", lambda: Devices("cpu", 1 if name == "vmap" else 2))
    running._train(Sweep(tmp_path, {}, ()), (), running.How(), lambda: None)
    assert called == [(name, Options(measure=measure))]
