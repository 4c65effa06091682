"""Stopped after any chunk and started again, a run is the undisturbed one to the bit."""

from pathlib import Path

import pytest
from ml_collections import ConfigDict
from small import config, same

from experiments import vae
from latentgen import runner, solo
from latentgen.launchers.plan import changed
from latentgen.training import distributed, loop

CHUNKS = 4


def vae_config() -> ConfigDict:
    """A VAE of a second, with batch norm and an average of the weights."""
    found = vae.get_config()
    found.update(steps=40, batch_size=16)
    found.every.update(log=10, validate=20, sample=20, checkpoint=40)
    found.method.update(ema_decay=0.9, ema_start=0)
    for net in ("encoder", "decoder"):
        found[net].update(hidden=(8,), norm="batch")
    return found


CONFIGS = {"vae": vae_config, "gan": config}


def train(folder: Path, plain: ConfigDict) -> None:
    solo.train(runner.load(folder, changed(plain, {}), None, None))


@pytest.fixture(scope="module", params=CONFIGS)
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ConfigDict, Path]:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    train(folder, CONFIGS[request.param]())
    return CONFIGS[request.param](), folder


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_rest_is_the_same_whatever_the_chunk(
    whole: tuple[ConfigDict, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    plain, undisturbed = whole
    polls = iter([None] * chunk + [15] + [None] * CHUNKS)
    watch = distributed.signals

    class Polled:
        def __enter__(self):
            return lambda: next(polls)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(distributed, "signals", Polled)
    with pytest.raises(loop.Stopped):
        train(tmp_path / "run", plain)
    monkeypatch.setattr(distributed, "signals", watch)
    train(tmp_path / "run", plain)
    same(undisturbed, tmp_path / "run")
