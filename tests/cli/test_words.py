"""Messages for a newcomer's mistakes: in their words, with what to write instead."""

from pathlib import Path

import commands
import pytest

from latentgen import sweep
from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.evaluation.measures import named
from latentgen.sweeps.engines import slurm
from latentgen.sweeps.engines.vmap import _progress_header

VAE = f"--config={commands.ROOT}/experiments/vae.py"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps=1e3", "--config.steps=1e3 must be a whole number; write 1000."),
        ("steps=1e3.5", "--config.steps=1e3.5 must be a whole number."),
        ("steps=None", "--config.steps=None must be a whole number."),
        ("data.validation=many", "data.validation=many must be a whole number or None."),
        ("optimizer.lr=fast", "--config.optimizer.lr=fast must be a number."),
        ("method=gan", "--config.method=gan names a section, which has keys of its own"),
        ("nothing=1", "--config.nothing is not a key of the config"),
    ],
)
def test_overrides_of_another_kind(override: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        app.check_config(["run", VAE, f"--config.{override}"])
    assert said in str(caught.value)


def test_none_where_none_is_the_default() -> None:
    key = "--config.data.validation"
    for words, left in (
        ([f"{key}=None"], []),
        ([f"{key}=5", f"{key}=None"], []),
        ([f"{key}=None", f"{key}=5"], [f"{key}=None", f"{key}=5"]),
        ([f"{key}=5", "--config.steps=7"], [f"{key}=5", "--config.steps=7"]),
    ):
        argv = ["run", VAE, *words]
        app.check_config(argv)
        assert argv == ["run", *left]


def test_names_of_the_literature() -> None:
    with pytest.raises(BadInput, match=r"--metrics='fid': write --metrics=frechet .*is no FID"):
        named("--metrics", "fid")
    with pytest.raises(BadInput, match=r"--metric='FID': write"):
        named("--metric", "FID")
    with pytest.raises(BadInput, match="'frech' is unknown; did you mean 'frechet'"):
        named("--metrics", "frech")
    done = commands.run("compare", "--metric=fid", "--workdirs=a,b")
    assert (done.returncode, "write --metrics=frechet" in done.stderr) == (2, True)
    assert "makes one" not in done.stderr


def test_sample_speaks_of_the_workdir_first(tmp_path: Path) -> None:
    done = commands.run("sample", f"--workdir={tmp_path / 'NOTHING'}")
    assert done.returncode == 2
    assert f"workdir='{tmp_path / 'NOTHING'}' holds no run" in done.stderr
    assert "there is no such folder" in done.stderr


def test_a_dry_run_needs_no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    options = slurm.Options(
        **dict.fromkeys(slurm.Options._fields, None)
        | {"time": 60, "lead": 120, "gpus": 0, "cpus": 1, "requeues": 1, "extra": {}}
    )
    slurm.check(options, dry_run=True)
    with pytest.raises(BadInput, match="lead"):
        slurm.check(options._replace(lead=10**6), dry_run=True)
    with pytest.raises(BadInput, match="no Slurm here"):
        slurm.check(options)


def setting(name: str, **means: float) -> dict:
    spread = {"n": 2, "sd": 0.5}
    return {"setting": name, "metrics": {k: {"mean": v, **spread} for k, v in means.items()}}


def test_the_last_lines_of_a_sweep_name_the_best_setting() -> None:
    loss, cost, score = "validation/negative_elbo", "validation/cost", "frechet/frechet_distance"
    found = [setting("a", **{loss: 2.0, cost: 0.0}), setting("b", **{loss: 1.0, cost: 1.0})]
    assert sweep.best(found) == (
        "best of 2 settings by the mean of validation/negative_elbo, lower being better: b with 1 "
        "(2 runs, SD 0.5)"
    )
    found[0]["metrics"][score] = {"mean": 1.0, "n": 1, "sd": None}  # only one was evaluated
    assert "negative_elbo" in str(sweep.best(found))
    found[1]["metrics"][score] = {"mean": 2.0, "n": 1, "sd": None}
    assert "frechet_distance, lower being better: a with 1 (1 runs)" in str(sweep.best(found))
    assert sweep.best(found[:1]) is None
    assert sweep.best([setting("a", **{cost: 0.0}), setting("b", **{cost: 1.0})]) is None
    higher = [
        setting("a", **{"is/log_likelihood": -2.0}),
        setting("b", **{"is/log_likelihood": -1.0}),
    ]
    assert "higher being better: b" in str(sweep.best(higher))


def test_the_lines_of_steps_say_whose_they_are() -> None:
    assert _progress_header(["a"]) == "the next lines are of a"
    assert _progress_header(["a", "b", "c"]) == "the next lines are medians of 3 runs: a to c"
