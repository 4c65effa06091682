"""The command of sweeps: what it refuses, before anything is written."""

from pathlib import Path

import commands
import pytest

from experiments import gan
from latentgen.core.errors import BadInput
from latentgen.sweeps import plan
from latentgen.sweeps.engines import vmap
from latentgen.sweeps.engines.inline import described

SWEEPS = sorted((commands.ROOT / "experiments" / "sweeps").glob("[a-z]*.py"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--engine=spark", "--seeds=0:2"], "--engine='spark' is unknown"),
        ([], "nothing is swept: give --sweep, --grid, --zip, --draw or --seeds"),
        (["--grid=config.generator_optimizer.rl=1,2"], "did you mean 'generator_optimizer.lr'"),
        (["--grid=config.generator_optimizer.lr=fast,slow"], "must be of the kind float"),
        (["--sweep=nowhere.py"], "there is no such file"),
        (["--grid=config.batch_size=16,32", "--engine=vmap"], "config.batch_size makes each of"),
    ],
)
def test_bad_input_is_one_line_before_anything_starts(
    tmp_path: Path, flags: list[str], said: str
) -> None:
    place = tmp_path / "sweep"
    done = commands.run(
        "sweep", f"--config={commands.ROOT}/experiments/gan.py", f"--workdir={place}", *flags
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not place.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def get_sweep(h):\n    return h.sweep('config.a', [])", "swept over no value"),
        ("def get_sweep(h):\n    return 3", "returns a int"),
        ("def get_sweep(h):\n    return h.swap()", "fails with AttributeError"),
        ("x = 1", "fails with KeyError"),
    ],
)
def test_a_file_that_describes_no_sweep(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    with pytest.raises(BadInput, match=said):
        described(str(file))


def test_a_list_of_dicts_is_a_sweep_too(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text("def get_sweep(h):\n    return [{'config.a': 1}, {'config.a': 2}]")
    assert described(str(file)).rows(0) == [{"config.a": 1}, {"config.a": 2}]


@pytest.mark.parametrize("file", SWEEPS, ids=lambda p: p.stem)
@pytest.mark.quick(1)
def test_shipped_sweeps_describe_runs(file: Path) -> None:
    variant = {"lucic": "nsgan"}.get(file.stem, "nonsaturating")
    members = plan.members(gan.get_config(variant), described(str(file)).rows(0))
    assert len(members) > 1
    vmap.check(members)
    assert sum(len(group.members) for group in vmap.groups(members)) == len(members)


def test_a_sweep_of_which_one_diverges_says_so_and_exits_with_6(tmp_path: Path) -> None:
    place = tmp_path / "sweep"
    flags = [*commands.tiny("gan"), f"--workdir={place}", "--engine=vmap", "--config.steps=100"]
    done = commands.run("sweep", *flags, "--grid=config.generator_optimizer.lr=0.003,1e30")
    assert done.returncode == 6, done.stderr
    assert "2 runs: 1 diverged, 1 done" in done.stdout
