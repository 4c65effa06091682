"""Training on real pictures: `images` of the VAE and of the GAN on a folder of openclipart-png."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from small import figures, one_program, same

from experiments import gan, vae
from latentgen.core.errors import Stopped
from latentgen.data import sources
from latentgen.sweeps.plan import changed
from latentgen.system import distributed
from latentgen.training import setup, trainer

pytestmark = pytest.mark.long

SIZE, STEPS = 32, 4
NETS = {vae: ("encoder", "decoder"), gan: ("generator", "discriminator")}


@pytest.fixture(scope="module")
def fruit(openclipart: Path) -> Path:
    return openclipart / "food" / "fruit"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def config(experiment: ModuleType, folder: Path) -> dict:
    """Four small steps, with a checkpoint after two."""
    found = experiment.get_config("images")
    found.update(steps=STEPS, batch_size=8)
    found.data.update(name=f"folder:{folder}", size=SIZE)
    found.every.update(log=2, validate=STEPS, sample=STEPS, checkpoint=2)
    for net in NETS[experiment]:
        found[net].update(width=8, widest=16)
    return changed(found, {})


@pytest.mark.parametrize("experiment", [vae, gan], ids=["vae", "gan"])
def test_losses_are_finite_and_a_resumed_run_is_the_same(
    experiment: ModuleType,
    fruit: Path,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with one_program():
        run = setup.load(tmp_path / "whole", config(experiment, fruit), str(data_dir), None)
        trainer.train(run)
        resumed = run._replace(folder=tmp_path / "resumed")
        with monkeypatch.context() as patch:
            polls = iter([None])  # then a signal
            patch.setattr(distributed, "signals", lambda: nullcontext(lambda: next(polls, 15)))
            with pytest.raises(Stopped):
                trainer.train(resumed)
        trainer.train(resumed)
    rows = figures(run.folder)
    values = [v for row in rows for v in row.values() if isinstance(v, float)]
    assert [row["step"] for row in rows if row["split"] == "train"] == [2, STEPS]
    assert len(values) >= 4
    assert np.isfinite(values).all()
    same(run.folder, resumed.folder)


def test_a_copy_in_another_order_has_the_same_identity(
    fruit: Path, data_dir: Path, tmp_path: Path
) -> None:
    files = sorted(p for p in fruit.glob("*.png") if not p.is_symlink())  # links out are refused
    assert len(files) > 50
    (tmp_path / "copy").mkdir()
    for number, file in enumerate(reversed(files)):
        shutil.copyfile(file, tmp_path / "copy" / f"{number:03}.png")
    found = [
        sources.load(f"folder:{folder}", data_dir=where, size=SIZE)
        for folder, where in ((fruit, data_dir), (tmp_path / "copy", tmp_path / "data"))
    ]
    one, other = (sources.identity(dataset, "unit") for dataset in found)
    assert one["splits"]["train"] > 50
    assert one["sha256"] == other["sha256"]
    assert one == other
    np.testing.assert_array_equal(found[0].splits["train"].x, found[1].splits["train"].x)
