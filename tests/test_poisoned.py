"""NaN in data, a gradient or parameters: named with its turn, seen again, or left out."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import ROOT
from jax.sharding import AxisType, Mesh
from small import one_program

from latentgen import replay
from latentgen.core.errors import BadInput, Diverged, Stopped
from latentgen.core.game import run_chunk
from latentgen.storage import evidence, log, workdir
from latentgen.sweeps.plan import changed
from latentgen.system import distributed
from latentgen.training import loop, mesh, setup, trainer
from tests.studies.faults import small
from tests.studies.faults.poison import Poison, poisoned

STEPS = 30
LONG = pytest.mark.long


def loaded(folder: Path, method: str, skip: int = 0) -> setup.Run:
    config = small.config(method, STEPS)
    config.skip_diverged = skip
    config.data.validation = 0
    run = setup.load(folder, changed(config, {}), None, None)
    return run._replace(
        eval_fns=run.eval_fns._replace(sample=None, reconstruct=None)
    )  # soon compiled


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


CASES = [
    ("vae", Poison("gradient", "encoder", (17,)), "encoder.", "encoder and decoder"),
    ("gan", Poison("data", "", (20,)), "batch.x", None),
    ("gan", Poison("gradient", "discriminator", (30,)), "discriminator.", "discriminator"),
    ("gan", Poison("parameters", "generator", (17,)), "params.generator.", "generator"),
]
MORE = [
    ("vae", Poison("data", "", (17,)), "batch.x", None),
    ("vae", Poison("parameters", "decoder", (11,)), "params.decoder.", "encoder and decoder"),
    ("gan", Poison("gradient", "generator", (17,)), "generator.", "generator"),
    ("gan", Poison("parameters", "discriminator", (1,)), "params.discriminator.", "discriminator"),
]
CASES += [pytest.param(*case, marks=LONG) for case in MORE]


@pytest.mark.parametrize(("method", "poison", "tensor", "turn"), CASES)
@pytest.mark.quick(2)
def test_the_step_the_turn_and_the_tensor_are_named_kept_and_seen_again(
    method: str, poison: Poison, tensor: str, turn: str | None, tmp_path: Path
) -> None:
    run, (step,) = loaded(tmp_path, method), poison.steps
    with poisoned(poison), one_program():
        with pytest.raises(Diverged) as caught:
            trainer.train(run)
        found, state = setup.restore(run, step - 1, evidence.STATE)
        blame, tables = replay.repeat(run, state, step - 1, step)
    record = evidence.diverged(tmp_path)
    assert record is not None
    assert (record["step"], record["turn"], record["seed"]) == (step, turn, run.experiment.seed)
    whose = f", turn of {turn}" if turn else ""
    assert f"diverged at step {step}{whose}: {record['tensor']} is not finite" in str(caught.value)
    name = record["tensor"]
    assert name == tensor if turn is None else f"{tensor}" in name
    assert name.startswith(("batch.", "params.", "opt.", "state.params.", "state.opt."))
    if poison.what == "parameters":
        assert "params" in name.split(".")
    assert record["tensors"][name]["not_finite"] == 1
    assert found == step - 1
    assert bool(loop.finite(state))
    assert (next(iter(blame.bad)), blame.turn) == (name, turn)
    assert "metrics" in tables


def test_a_state_that_was_bad_before_the_step_is_told(tmp_path: Path) -> None:
    run = loaded(tmp_path, "gan")
    init = run.eval_fns.init

    def begun(key):
        state = init(key)
        inner = getattr(state, "state", state)
        dense = inner.params["generator"]["Hidden_0"]["Dense_0"]
        dense["kernel"] = dense["kernel"].at[3, 0].set(np.inf)
        return state

    with pytest.raises(Diverged):
        trainer.train(run._replace(eval_fns=run.eval_fns._replace(init=begun)))
    record = evidence.diverged(tmp_path)
    assert record is not None
    assert (record["step"], record["turn"]) == (1, None)
    assert record["tensor"].startswith("before.")
    assert record["tensor"].endswith("generator.Hidden_0.Dense_0.kernel")


def by_hand(run: setup.Run, without: set[int]) -> list[np.ndarray]:
    """The state after all steps but these (counted from 1), one at a time."""
    feed = setup.feed_of(run)
    state = run.eval_fns.init(run.key)
    step = jax.jit(
        lambda state, n, row: run_chunk(
            run.method, feed.batches, state, n, row, feed.resident, run.key
        )
    )
    for n in range(STEPS):
        if n + 1 not in without:
            state, _ = step(state, np.array([n], np.int32), feed.rows(n, 1))
    return jax.tree.leaves(state)


TWICE = Poison("gradient", "generator", (17, 23))


@pytest.fixture(scope="class")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[setup.Run]:
    """A GAN with NaN in the generator's gradient at two steps, which it may skip."""
    run = loaded(tmp_path_factory.mktemp("skipping") / "run", "gan", skip=2)
    with one_program(), poisoned(TWICE):
        trainer.train(run)
        yield run


class TestSkipping:
    """The poison of the run lasts for the tests of this class."""

    def test_it_ends_as_if_these_steps_had_never_been(self, undisturbed: setup.Run) -> None:
        _, state = setup.restore(undisturbed, None)
        assert bool(loop.finite(state))
        # Rounded otherwise by another program.
        for a, b in zip(jax.tree.leaves(state), by_hand(undisturbed, {17, 23}), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        counts = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype == np.int32]
        assert {int(n) for n in counts} == {STEPS - 2}

    def test_each_is_told_of_once_and_each_chunk_logged_once(self, undisturbed: setup.Run) -> None:
        told = records(undisturbed.folder)
        assert [(r["step"], r["turn"]) for r in told] == [(17, "generator"), (23, "generator")]
        assert not (undisturbed.folder / "diverged.json").exists()
        summary = json.loads((undisturbed.folder / "summary.json").read_text())
        assert summary["skipped"] == [17, 23]
        rows = log.read(undisturbed.folder / "metrics.jsonl")
        assert [r["step"] for r in rows if r["split"] == "train"] == [10, 20, 30]
        assert all(np.isfinite(v) for row in rows for k, v in row.items() if k != "split")

    def test_each_can_be_seen_again(self, undisturbed: setup.Run) -> None:
        for told in records(undisturbed.folder):
            record = replay.chosen(undisturbed.folder, told["step"])
            assert record == told
            run = undisturbed
            _, state = setup.restore(run, record["first"], evidence.STATE)
            blame, _ = replay.repeat(run, state, record["first"], record["last"])
            assert (next(iter(blame.bad)), blame.turn) == (record["tensor"], "generator")
        assert replay.chosen(undisturbed.folder, None)["step"] == 23
        with pytest.raises(BadInput, match=r"--step=18 .* Valid: 17, 23"):
            replay.chosen(undisturbed.folder, 18)

    @pytest.mark.parametrize("polls", [5, *(pytest.param(n, marks=LONG) for n in (1, 8))])
    def test_stopped_anywhere_and_continued_it_is_the_same(
        self, undisturbed: setup.Run, polls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stop between chunks, and between the steps that are repeated one by one."""

        @contextlib.contextmanager
        def signals():
            left = iter([None] * polls)
            yield lambda: next(left, 15)

        run = undisturbed._replace(folder=tmp_path / "run")
        with monkeypatch.context() as patch:
            patch.setattr(distributed, "signals", signals)
            with pytest.raises(Stopped):
                trainer.train(run)
        trainer.train(run)
        assert small.difference(small.end(undisturbed), run) is None
        assert [r["step"] for r in records(run.folder)] == [17, 23]

    def test_killed_before_the_step_is_left_out_for_good(
        self, undisturbed: setup.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = undisturbed._replace(folder=tmp_path / "run")
        with monkeypatch.context() as patch:
            patch.setattr(workdir, "append_json", lambda *_: exec("raise KeyboardInterrupt"))
            with pytest.raises(KeyboardInterrupt):
                trainer.train(run)
        assert not (run.folder / "skipped.jsonl").exists()
        trainer.train(run)
        assert small.difference(small.end(undisturbed), run) is None
        assert [r["step"] for r in records(run.folder)] == [17, 23]

    def test_a_list_that_cannot_be_read_is_refused(
        self, undisturbed: setup.Run, tmp_path: Path
    ) -> None:
        run = undisturbed._replace(folder=tmp_path)
        (tmp_path / "skipped.jsonl").write_text('{"step": 3}\n')
        with pytest.raises(BadInput, match=r"skipped\.jsonl"):
            trainer.train(run)


@pytest.mark.long
def test_beyond_what_its_config_allows_the_run_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = loaded(tmp_path, "vae", skip=1)
    with poisoned(Poison("data", "", (5, 25))), pytest.raises(Diverged, match="at step 25"):
        trainer.train(run)
    assert "diverged at step 5: batch.x is not finite" in (said := capsys.readouterr().err)
    assert "left out, 1 of at most 1 times" in said
    assert [r["step"] for r in records(tmp_path)] == [5]
    assert evidence.diverged(tmp_path)["step"] == 25
    assert replay.chosen(tmp_path, None)["step"] == 25
    assert replay.chosen(tmp_path, 5)["step"] == 5


@pytest.mark.long
def test_several_devices_name_the_same(tmp_path: Path) -> None:
    """The operation that places the new state on its devices is not a turn of its own."""
    run = loaded(tmp_path, "gan", skip=1)
    devices = np.array(jax.devices()[:1]).reshape(1, 1)
    one = Mesh(devices, (mesh.DATA, mesh.FSDP), (AxisType.Auto,) * 2)
    with poisoned(Poison("gradient", "generator", (17,))):
        trainer.train(run, one)
    (record,) = records(tmp_path)
    assert (record["step"], record["turn"]) == (17, "generator")


def poison(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.studies.faults.poison", *words],
        **dict(capture_output=True, text=True, cwd=ROOT, env=os.environ, timeout=240),
    )


@LONG
def test_a_fresh_process_sees_it_again(tmp_path: Path) -> None:
    run = loaded(tmp_path, "gan", skip=1)
    fault = Poison("parameters", "generator", (17,))
    with poisoned(fault):
        trainer.train(run)
    (record,) = records(tmp_path)
    words = (fault.what, fault.player, "17", "latentgen.replay")
    done = poison(*words, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "step 17, from the state after 16 updates",
        f"first tensor that is not finite: {record['tensor']} "
        f"(1 of {record['tensors'][record['tensor']]['values']} values)",
        "computed in the turn of generator",
    ]
    table = [line.split() for line in lines if line.startswith(record["tensor"])]
    assert len(table) == 2  # before and after
    assert [row[-1] == "0.00%" for row in table] == [True, False]
