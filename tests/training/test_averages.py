"""Several moving averages of the weights: kept, resumed, and chosen afterwards."""

from pathlib import Path

import commands
import jax
import numpy as np
import pytest
from small import config, one_program, same

import latentgen
from latentgen.core.errors import BadInput, Stopped
from latentgen.sweeps.plan import changed
from latentgen.training import setup, trainer, transfer

MORE = (0.5, 0.99, 640.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """A GAN with four averages, stopped once and continued, beside an undisturbed one."""
    folder = tmp_path_factory.mktemp("averages")
    plain = changed(config(), {"method.ema_more": MORE})
    with one_program():
        run = setup.load(folder / "whole", plain, None, None)
        trainer.train(run)
        pieces = run._replace(folder=folder / "pieces")
        polls = iter([None, None])
        with pytest.raises(Stopped):
            trainer.train(pieces, stopped=lambda: next(polls, 15))
        trainer.train(pieces)
        yield run


def test_a_continued_run_has_the_same(run: setup.Run) -> None:
    same(run.folder, run.folder.parent / "pieces")


def samples(run: setup.Run, weights: str | None) -> np.ndarray:
    return latentgen.load(run.folder, weights=weights).sample(4)


def test_each_is_sampled_by_its_number(run: setup.Run) -> None:
    """The half-life of 640 images is a decay of 0.5^(16 / 640) in steps of 16 images."""
    found = {name: samples(run, name) for name in (None, "ema", "raw", "0.5", "0.99", "640")}
    np.testing.assert_array_equal(found[None], found["ema"])
    assert len({x.tobytes() for x in found.values()}) == 5
    states = [latentgen.load(run.folder, weights=name).state for name in ("640", "raw")]
    weight = 0.5 ** (16 / 640)
    _, all_ = setup.restore(run, None)
    for mean in (all_.more[2], {"params": states[0].params, "stats": states[0].stats}):
        assert jax.tree.structure(mean["params"]) == jax.tree.structure(states[1].params)
    assert 0.98 < weight < 0.99
    distance = [
        sum(float(np.abs(a - b).sum()) for a, b in zip(*map(jax.tree.leaves, pair), strict=True))
        for pair in (
            (all_.more[0]["params"], states[1].params),
            (all_.more[2]["params"], states[1].params),
            (all_.more[1]["params"], states[1].params),
        )
    ]
    assert distance == sorted(distance)  # the slower an average, the further from the last step


@pytest.mark.long
def test_commands_take_the_number(run: setup.Run, tmp_path: Path) -> None:
    workdir = f"--workdir={run.folder}"
    for weights in ("0.99", "raw"):
        out = f"--out={tmp_path / weights}.npz"
        commands.run("sample", workdir, out, "--num=4", f"--weights={weights}")
        found = np.load(tmp_path / f"{weights}.npz")
        expected = latentgen.load(run.folder, weights=weights).decode(found["codes"])
        np.testing.assert_allclose(found["x"], expected, rtol=1e-5, atol=1e-6)
    done = commands.run("evaluate", workdir, "--metrics=frechet", "--samples=50", "--weights=0.990")
    assert "0.99 weights" in done.stdout


def test_one_that_is_not_kept_is_refused(run: setup.Run) -> None:
    with pytest.raises(BadInput, match=r"weights='0.9': .* Valid: ema, raw, 0.5, 0.99, 640"):
        latentgen.load(run.folder, weights="0.9")


def test_they_begin_as_the_weights_of_another_run(run: setup.Run, tmp_path: Path) -> None:
    other = setup.load(tmp_path, changed(config(), {"method.ema_more": (0.9,)}), None, None)
    begun = transfer.init_from(other, str(run.folder), ["generator"])
    state = transfer.begun(begun, other.eval_fns.init(other.key))
    _, source = setup.restore(run, None)
    for mean in (state.params, state.more[0]["params"]):
        for x, y in zip(jax.tree.leaves(mean), jax.tree.leaves(source.params), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method.ema_decay": 0.0}, "ema_more names averages beside the one that is sampled"),
        ({"method.ema_more": (0.0,)}, "ema_more=0.0 must be above 0"),
    ],
)
def test_a_config_that_makes_no_sense(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        setup.load(tmp_path, changed(config(), {"method.ema_more": (0.9,)} | changes), None, None)
