"""A run stopped after any chunk and resumed equals the undisturbed one bitwise."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ml_collections import ConfigDict
from small import one_program, same

from experiments import classifier, gan, hybrids, vae
from latentgen.core.errors import Stopped
from latentgen.sweeps.plan import changed
from latentgen.system import distributed
from latentgen.training import setup, trainer

CHUNKS = 4
BATCH_NORM, SPECTRAL, TANH = {"norm": "batch"}, {"norm": "spectral"}, {"activation": "tanh"}


class Row(NamedTuple):
    """An experiment and what is changed in it; `nets` get a small hidden layer."""

    config: ConfigDict
    nets: dict[str, dict[str, Any]]
    method: dict[str, Any]


ROWS: dict[str, Callable[[], Row]] = {
    "vae": lambda: Row(
        vae.get_config(),
        {"encoder": BATCH_NORM, "decoder": BATCH_NORM},
        {"ema_decay": 0.9, "ema_start": 0},
    ),
    "vae: two layers, a prior that learns, annealed": lambda: Row(
        vae.get_config(),
        {"encoder": TANH, "decoder": {"dropout": 0.2}, "code_network": TANH},
        {
            "second_code_dim": 3,
            "prior": "mixture",
            "components": 4,
            "kl": "sampled",
            "warmup_steps": 25,
        },
    ),
    "gan": lambda: Row(
        gan.get_config(),
        {"generator": BATCH_NORM, "discriminator": {"dropout": 0.3}},
        {"ema_decay": 0.9, "ema_start": 0},
    ),
    "gan: two critic steps, a penalty, spectral norm": lambda: Row(
        gan.get_config(),
        {"generator": {}, "discriminator": SPECTRAL},
        {"loss": "wasserstein", "penalty": "wgan_gp", "discriminator_steps": 2},
    ),
    "gan: packs of points": lambda: Row(
        gan.get_config("ring"), {"generator": BATCH_NORM, "discriminator": {}}, {"packing": 2}
    ),
    "aae": lambda: Row(
        hybrids.get_config("aae"), {"encoder": {}, "decoder": BATCH_NORM, "discriminator": {}}, {}
    ),
    "vaegan": lambda: Row(
        hybrids.get_config("vaegan"),
        {"encoder": {}, "decoder": BATCH_NORM, "discriminator": {}},
        {"features": 8},
    ),
    "bigan": lambda: Row(
        hybrids.get_config("bigan"), {"generator": {}, "encoder": {}, "discriminator": {}}, {}
    ),
    "classifier": lambda: Row(
        classifier.get_config("digits"), {"encoder": {"channels": (4, 8)}}, {}
    ),
}


def config(row: Row) -> dict[str, Any]:
    """A run of a second that logs, validates, draws and saves at different steps."""
    found = row.config
    found.update(steps=10 * CHUNKS, batch_size=16)
    found.every.update(log=10, validate=20, sample=20, checkpoint=30)
    found.method.update(row.method)
    for net, changes in row.nets.items():
        found[net].update({"hidden": (8,)} | changes)
    return changed(found, {})


class Whole(NamedTuple):
    """A run, and the folder in which it was trained undisturbed."""

    run: setup.Run
    folder: Path


QUICK = ("vae: two layers, a prior that learns, annealed", "gan")
PARAMS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in ROWS]


@pytest.fixture(scope="module", params=PARAMS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    with one_program():
        run = setup.load(folder, config(ROWS[request.param]()), None, None)
        trainer.train(run)
        yield Whole(run, folder)


def stopped_after(chunks: int, patch: pytest.MonkeyPatch) -> None:
    """Make a signal come after so many chunks of training."""

    @contextmanager
    def signals():
        polls = iter([None] * chunks)
        yield lambda: next(polls, 15)

    patch.setattr(distributed, "signals", signals)


def trained_in_pieces(run: setup.Run, pieces: Sequence[int], patch: pytest.MonkeyPatch) -> None:
    with patch.context() as context:
        for chunks in pieces:
            stopped_after(chunks, context)
            with pytest.raises(Stopped):
                trainer.train(run)
    trainer.train(run)


def test_the_rest_is_the_same(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop the run once, with several chunks before and after."""
    trained_in_pieces(whole.run._replace(folder=tmp_path / "run"), [CHUNKS // 2], monkeypatch)
    same(whole.folder, tmp_path / "run")


def test_it_may_be_stopped_after_every_chunk(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_in_pieces(
        whole.run._replace(folder=tmp_path / "run"), [0] + [1] * (CHUNKS - 1), monkeypatch
    )
    same(whole.folder, tmp_path / "run")
