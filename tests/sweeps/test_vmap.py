"""Folders of populations equal those of solo runs, whichever members fail or stop."""

import csv
import errno
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest
from small import LR, STEPS, config, figures, one_crew, opened, same, state, trained

from latentgen.core.errors import BadInput, Stopped
from latentgen.storage import evidence, status
from latentgen.sweeps import folder, plan, results
from latentgen.sweeps.engines import vmap
from latentgen.sweeps.folder import standing
from latentgen.sweeps.options import Options
from latentgen.system import watchdog
from latentgen.training import loop, setup, trainer
from latentgen.training.run_writer import RunWriter

CREW, MEMORY = vmap.population_program, vmap.memory
ROWS = [{LR: lr, "config.seed": seed} for lr in (1e-3, 3e-3) for seed in (0, 1)]
TOLERANCE = 2e-3  # relative tolerance between a member of a population and the run alone


@pytest.fixture(scope="module", autouse=True)
def compiled_once() -> Iterator[None]:
    """Compile the group of four, and its parts of two, once for all tests of this file."""
    with one_crew():
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> folder.Sweep:
    sweep = opened(tmp_path_factory.mktemp("undisturbed") / "sweep", ROWS)
    trained(sweep)
    return sweep


def test_members_leave_what_solo_runs_leave(undisturbed: folder.Sweep, tmp_path: Path) -> None:
    for member in undisturbed.members[3:]:  # its seed and its rate are not the first one's
        alone, place = tmp_path / member.run, undisturbed.run_folder(member.run)
        trainer.train(setup.load(alone, member.config, None, None))
        names = {p.relative_to(alone) for p in alone.rglob("*") if "events" not in p.name}
        theirs = {p.relative_to(place) for p in place.rglob("*") if "events" not in p.name}
        assert {p for p in names if "checkpoints" not in p.parts} == {
            p for p in theirs if "checkpoints" not in p.parts
        }
        assert (place / "config.json").read_text() == (alone / "config.json").read_text()
        mine, others = figures(place), figures(alone)
        assert [line.keys() for line in mine] == [line.keys() for line in others]
        for a, b in zip(mine, others, strict=True):
            for name in a.keys() - {"split"}:
                assert a[name] == pytest.approx(b[name], rel=TOLERANCE, abs=TOLERANCE), name
        for x, y in zip(state(place), state(alone), strict=True):
            np.testing.assert_allclose(x, y, rtol=0.05, atol=TOLERANCE)
        found = json.loads((place / "summary.json").read_text())
        assert found["population"] == len(ROWS)


@pytest.mark.long
def test_a_stuck_population_tells_each_member_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog times everything; it stops the process at the second save."""
    heard: list[str] = []
    told: list[tuple[str, list[str | None]]] = []
    sweep = opened(tmp_path / "sweep", ROWS)

    class Dog(watchdog.Watchdog):
        def begin(self, action: str) -> None:
            heard.append(action)
            super().begin(action)

        @contextmanager
        def within(self, action: str) -> Iterator[None]:
            heard.append(action)
            with super().within(action):
                if heard.count("checkpoint") == 2 and not told:
                    self._on_timeout(self._message(action, 900.0))
                yield

    def leave(line: str) -> None:
        now = [status.read(sweep.run_folder(member.run)) for member in sweep.members]
        told.append((line, [each and f"{each.status}: {each.reason}" for each in now]))

    monkeypatch.setattr(vmap, "Watchdog", Dog)
    monkeypatch.setattr(vmap, "exit_immediately", leave)
    trained(sweep)
    line = "stuck: checkpoint has not ended for 900 s; the same command continues."
    assert told == [(line, [f"preempted: {line}"] * 4)]
    assert heard[:3] == ["restore", "start", "chunk"]
    assert set(heard[3:]) == {"chunk", "pictures", "validation", "checkpoint"}
    assert heard.count("checkpoint") == STEPS // 10


@pytest.mark.long
def test_a_full_disk_is_no_members_fault(
    undisturbed: folder.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = opened(tmp_path / "sweep", ROWS)
    log_metrics = RunWriter.log_metrics

    def full(self: RunWriter, step: int, metrics: loop.Metrics) -> None:
        if step == 30:
            raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")
        log_metrics(self, step, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "log_metrics", full)
        with pytest.raises(OSError, match="No space left"):
            trained(sweep)
    now = [standing(sweep.run_folder(member.run)) for member in sweep.members]
    assert [each.status for each in now] == [status.PREEMPTED] * 4
    assert all("No space left" in str(each.reason) for each in now)
    trained(sweep)
    assert {standing(sweep.run_folder(m.run)).status for m in sweep.members} == {status.DONE}
    for member in sweep.members:
        same(sweep.run_folder(member.run), undisturbed.run_folder(member.run))


def compilations(sweep: folder.Sweep) -> int:
    """Number of programs that training compiles, small ones included."""
    found = []

    def note(event: str, seconds: float, **_: object) -> None:
        found.append(event) if "backend_compile" in event else None

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        trained(sweep)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert all(standing(sweep.run_folder(m.run)).status == status.DONE for m in sweep.members)
    return len(found)


@pytest.mark.long
@pytest.mark.parametrize("many", [8, 32])
def test_many_settings_compile_what_four_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """The count includes programs that were compiled earlier."""
    monkeypatch.setattr(vmap, "population_program", CREW)
    monkeypatch.setattr(vmap, "memory", MEMORY)
    base = config(steps=10, **{f"every.{name}": 10 for name in ("log", "validate", "sample")})
    rows = [{LR: 1e-4 * (i + 1)} for i in range(many)]
    few = compilations(opened(tmp_path / "few", rows[:4], base))
    sweep = opened(tmp_path / "many", rows, base)
    assert 0 < compilations(sweep) <= few
    ends = {figures(sweep.run_folder(m.run))[-1]["generator_loss"] for m in sweep.members}
    assert len(ends) == many  # each with its own


@pytest.mark.parametrize("chunks", [pytest.param(1, marks=pytest.mark.long), 3])
def test_stopped_and_continued_members_are_bitwise_undisturbed(
    undisturbed: folder.Sweep, tmp_path: Path, chunks: int
) -> None:
    sweep = opened(tmp_path / "sweep", ROWS)
    calls = iter([None] * (1 + chunks) + [signal.SIGTERM])  # before the first, too
    with pytest.raises(Stopped):
        trained(sweep, stopped=lambda: next(calls))
    place = sweep.run_folder(sweep.members[0].run)
    assert standing(place).status == status.PREEMPTED
    # killed during a save: one has the newest checkpoint, the others the one before
    if chunks == 3:
        shutil.rmtree(place / "checkpoints" / "30")
    trained(sweep)
    for member in sweep.members:
        same(undisturbed.run_folder(member.run), sweep.run_folder(member.run))


def test_one_that_diverges_and_one_that_fails_leave_the_others_as_they_were(
    undisturbed: folder.Sweep, tmp_path: Path
) -> None:
    """One of four members has an absurd learning rate, one a file in place of `samples`."""
    rows = [ROWS[0], {LR: 1e30, "config.seed": 1}, *ROWS[2:]]
    sweep = opened(tmp_path / "sweep", rows)
    diverged, failed = sweep.members[1], sweep.members[2]
    sweep.run_folder(failed.run).mkdir(parents=True)
    (sweep.run_folder(failed.run) / "samples").write_text("in the way")
    trained(sweep)
    now = {m.run: standing(sweep.run_folder(m.run)) for m in sweep.members}
    assert [found.status for found in now.values()] == [
        *[status.DONE, status.DIVERGED, status.FAILED, status.DONE]
    ]
    assert "is not finite" in str(now[diverged.run].reason)
    assert "samples" in str(now[failed.run].reason)
    assert evidence.diverged(sweep.run_folder(diverged.run)) is not None
    for place in (0, 3):
        run = sweep.members[place].run
        same(undisturbed.run_folder(run), sweep.run_folder(run))
    found = results.write(sweep)
    summary = json.loads((sweep.folder / "summary.json").read_text())
    assert (summary["done"], summary["diverged"], summary["failed"]) == (2, 1, 1)
    table = csv.DictReader((sweep.folder / "results.csv").read_text().splitlines())
    assert [row["status"] for row in table] == [row["status"] for row in found]
    # Retried from its folder, the failed one ends as it would have undisturbed.
    (sweep.run_folder(failed.run) / "samples").unlink()
    folder.forget(sweep.run_folder(failed.run))
    trained(sweep)
    same(undisturbed.run_folder(failed.run), sweep.run_folder(failed.run))


def test_the_first_that_fails_may_end_all(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "sweep", [ROWS[0], {LR: 1e30, "config.seed": 1}])
    trained(sweep, Options(fail_fast=True))
    found = [standing(sweep.run_folder(m.run)).status for m in sweep.members]
    assert found == [status.PREEMPTED, status.DIVERGED]


@pytest.mark.long
def test_populations_fit_into_the_memory_that_they_are_given(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "sweep", ROWS)
    (group,) = vmap.groups(sweep.members)
    crew = vmap.population_program(group, sweep.run_folder, None, None)
    two, four = vmap.memory(crew, 2), vmap.memory(crew, 4)
    assert two < four
    assert vmap.fitting(crew, 4, two) == 2
    assert vmap.fitting(crew, 4, 1.0) == 1  # one member is trained however much memory it needs
    trained(sweep, Options(memory=two))
    (kept,) = json.loads((sweep.folder / "populations.json").read_text())
    assert kept["size"] == 2
    five = vmap.groups(plan.members(config(), [{"config.seed": seed} for seed in range(5)]))[0]
    assert [list(p) for p in five._replace(size=2).populations()] == [[0, 1], [2], [3, 4]]
    assert all(standing(sweep.run_folder(m.run)).status == status.DONE for m in sweep.members)


@pytest.mark.parametrize(
    ("took", "at_once", "size"),
    [
        ({1: 3.0, 8: 2.0, 12: 1.0}, None, 12),
        ({1: 3.0, 8: 2.0, 12: 4.0}, None, 8),
        ({1: 1.0, 8: 2.0, 12: 4.0}, None, 1),
        ({1: 3.0, 4: 2.0}, 4, 4),
    ],
)
def test_the_fastest_size_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, took: dict, at_once: int | None, size: int
) -> None:
    sweep = opened(tmp_path / "sweep", [{"config.seed": seed} for seed in range(12)])
    crew = vmap.population_program(vmap.groups(sweep.members)[0], sweep.run_folder, None, None)
    monkeypatch.setattr(vmap, "memory", lambda crew, size: 0.0)
    measured = []
    monkeypatch.setattr(vmap, "seconds", lambda crew, n: measured.append(n) or took[n])
    found = vmap._with_size(crew, Options(measure=True, at_once=at_once))
    assert found.size == size
    assert sorted(measured) == sorted(took)


@pytest.mark.long
def test_more_seeds_later_leave_the_finished_untouched(tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[3], ROWS[1]]  # the last becomes a population of one
    before = opened(tmp_path / "sweep", rows[:2])
    trained(before)

    def told(sweep: folder.Sweep) -> dict:
        files = [
            p for m in before.members for p in sweep.run_folder(m.run).rglob("*") if p.is_file()
        ]
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}

    were = told(before)
    after = opened(tmp_path / "sweep", rows)
    assert len(folder.unfinished(after, [])) == 1
    trained(after)
    assert told(after) == were
    assert all(standing(after.run_folder(m.run)).status == status.DONE for m in after.members)
    with pytest.raises(BadInput, match="holds another sweep: 1 of its 3 runs are not in this one"):
        opened(tmp_path / "sweep", rows[:2])
    with pytest.raises(BadInput, match=f"another config: steps: {STEPS} in the workdir, 50 now"):
        opened(tmp_path / "sweep", rows, config(steps=50))


def grouped(*rows: dict) -> list[tuple[int, tuple[str, ...]]]:
    return [(len(g.members), g.keys) for g in vmap.groups(plan.members(config(), rows))]


def test_groups_are_of_one_structure() -> None:
    key = LR.removeprefix("config.")
    assert grouped({LR: 1e-3}, {LR: 2e-3}, {"config.seed": 5}) == [(3, (key,))]
    words = [{"config.method.loss": game, LR: lr} for game in ("minimax", "hinge") for lr in (1, 2)]
    assert grouped(*words) == [(2, (key,)), (2, (key,))]
    clip = "config.generator_optimizer.clip_norm"  # 0 means none, which is another program
    assert grouped({clip: 0.0}, {clip: 1.0}, {clip: 2.0}) == [(1, ()), (2, (clip[7:],))]
    dropout = "config.discriminator.dropout"  # networks are made with the number itself
    assert grouped({dropout: 0.1}, {dropout: 0.2}) == [(1, ()), (1, ())]
    assert grouped({"config.batch_size": 16}, {"config.batch_size": 32}) == [(1, ()), (1, ())]
