"""The weights that are measured, and the results kept if one of several measures fails."""

from pathlib import Path

import jax
import numpy as np
import pytest
from commands import run, tiny
from untrained import OPTIONS, subject

from latentgen.core.errors import BadInput
from latentgen.core.wrappers import with_raw_params
from latentgen.evaluation.measures import likelihood
from latentgen.evaluation.measures.results import ERROR, compared, lines, shown
from latentgen.storage.log import read
from latentgen.storage.workdir import read_json

RESULT = {
    "metric": "terms",
    "split": "test",
    "protocol": {},
    "data": {},
    "values": {"loss": 1.0},
    "method": {"ema_decay": 0.9},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE with an average of its weights, after ten steps."""
    place = tmp_path_factory.mktemp("runs") / "vae"
    done = run("run", *tiny("vae"), "--config.steps=10", f"--workdir={place}")
    assert done.returncode == 0, done.stderr
    assert "moving average" in done.stderr
    assert read_json(place / "summary.json")["validation_weights"] == "ema"
    return place


def measured(folder: Path, *flags: str) -> tuple[list[dict], str]:
    file = folder / "evaluations.jsonl"
    before = len(read(file)) if file.exists() else 0
    done = run("evaluate", f"--workdir={folder}", "--images=20", *flags)
    assert done.returncode == 0, done.stderr
    return read(file)[before:], done.stdout


def test_terms_and_importance_sampling_measure_one_set_of_weights() -> None:
    """k = 1 is the ELBO. A regression test: 'terms' used the last weights, 'is' the averages."""
    one = subject("vae", "digits", method__ema_decay=0.9, data__preprocess="threshold")
    average = jax.tree.map(lambda a: a + 0.01, one.state.params)
    apart = one._replace(state=one.state._replace(params=average))
    found = {}
    for name, state in (
        ("ema", apart.state),
        ("raw", with_raw_params(apart.state)),
        ("none", one.state),
    ):
        mine = apart._replace(state=state)
        elbo = likelihood.terms(mine, OPTIONS).values["negative_elbo"]
        sampled = likelihood.importance_sampled(mine, OPTIONS).values["log_likelihood"]
        error = np.hypot(elbo["standard_error"], sampled["standard_error"])
        assert abs(elbo["mean"] + sampled["mean"]) < 5 * error
        found[name] = elbo["mean"]
    assert found["raw"] == found["none"]
    assert abs(found["ema"] - found["raw"]) > 10 * error


def test_weights_are_named_and_others_are_not_compared(folder: Path) -> None:
    (by_default,), said = measured(folder)
    (averaged,), _ = measured(folder, "--weights=ema")
    (last,), _ = measured(folder, "--weights=raw")
    assert [each["weights"] for each in (by_default, averaged, last)] == ["ema", "ema", "raw"]
    assert "ema weights" in said
    assert by_default["values"] == averaged["values"] != last["values"]
    with pytest.raises(BadInput, match="weights"):
        compared({"a": by_default, "b": last})


def test_results_of_before_keep_their_weights() -> None:
    new = RESULT | {"weights": "ema"}
    with pytest.raises(BadInput, match="weights"):
        compared({"a": RESULT, "b": new})
    assert compared({"a": RESULT, "b": new | {"weights": "raw"}})
    plain = new | {"method": {"ema_decay": 0.0}, "weights": "raw"}
    assert compared({"a": new, "b": plain})  # both are of the weights that are sampled


def test_of_several_measures_one_that_cannot_be_had_costs_the_others_nothing(folder: Path) -> None:
    before = len(read(folder / "evaluations.jsonl"))
    flags = ["--metrics=exact,terms,prdc", "--images=4"]
    done = run("evaluate", f"--workdir={folder}", *flags)
    assert done.returncode == 2
    assert [line["metric"] for line in read(folder / "evaluations.jsonl")[before:]] == ["terms"]
    first, second = done.stderr.strip().splitlines()[-2:]
    assert first.startswith("error: exact: ")
    assert second == "error: prdc: --images=4 must be at least 6 for this measure."


def test_no_error_is_no_number() -> None:
    one = {"mean": 2.0, "standard_error": float("nan"), "n": 1}
    assert shown(one).strip() == "2.0000"
    assert shown(one | {"standard_error": "nan"}).strip() == "2.0000"
    assert shown(one | {"standard_error": 0.25}).strip() == "2.0000 +- 0.2500"
    values = {"distance": 3.0, f"distance{ERROR}": 0.5, "floor": 1.0}
    assert [line.split() for line in lines(values)] == [
        ["distance", "3.0000", "+-", "0.5000"],
        ["floor", "1.0000"],
    ]
