"""Measuring from the command line: every measure, its protocol, and what it refuses."""

import math
from pathlib import Path

import numpy as np
import pytest
from commands import run, tiny

from latentgen.storage.log import read

MEASURED = {
    "terms": {"distortion", "rate", "negative_elbo", "loss", "bits_per_dimension"},
    "is": {"log_likelihood", "effective_samples", "bits_per_dimension"},
    "ais": {"log_likelihood", "acceptance", "effective_chains", "bits_per_dimension"},
    "active": {"active_units", "activity"},
    "surgery": {"mutual_information", "marginal_kl", "rate", "log_images"},
}
OTHERS = {
    "bdmc": {"lower_bound", "upper_bound", "gap"},
    "parzen": {"log_likelihood", "sigma"},
}
FEW = ["--images=20", "--k=300", "--chains=4", "--temperatures=60"]
SHORT = ["--config.steps=200", "--config.every.checkpoint=200"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A VAE of binarized digits, a linear one of grey digits, and a GAN, hardly trained."""
    folder = tmp_path_factory.mktemp("runs")
    flags = {
        "vae": [*tiny("vae"), "--config.data.preprocess=threshold"],
        "linear": [
            *(f for f in tiny("vae") if not any(w in f for w in ("hidden", "norm", ".lr", "ema"))),
            *("--config.encoder.hidden=()", "--config.decoder.hidden=()"),
            *("--config.method.likelihood=normal_learned", "--config.method.std=0.3"),
            *("--config.optimizer.lr=0.02", "--config.optimizer.schedule=cosine"),
        ],
        "gan": [*tiny("gan"), "--config.method.augment=diffaugment:color"],
    }
    for name, arguments in flags.items():
        short = [] if name == "linear" else SHORT  # its estimates agree only once it has learned
        done = run("run", *arguments, *short, f"--workdir={folder / name}")
        assert done.returncode == 0, done.stderr
    return {name: folder / name for name in flags}


def measured(folder: Path, *flags: str) -> dict[str, dict]:
    """The results that a command adds to the folder, by name."""
    file = folder / "evaluations.jsonl"
    before = len(read(file)) if file.exists() else 0
    done = run("evaluate", f"--workdir={folder}", *flags)
    assert done.returncode == 0, done.stderr
    return {line["metric"]: line for line in read(file)[before:]}


def assert_stamped(found: dict[str, dict], measures: dict[str, set[str]]) -> None:
    """Check that each measure has its values with errors, its protocol and its origin."""
    assert found.keys() == measures.keys()
    stamp = {"split", "step", "seed", "data", "config_sha256", "versions", "device", "command"}
    for name, names in measures.items():
        values, protocol = found[name]["values"], found[name]["protocol"]
        assert names <= values.keys()
        assert stamp <= found[name].keys()
        assert (protocol["images"], protocol["dtype"]) == (20, "float32")
        for value in values.values():
            if isinstance(value, dict):
                assert value["n"] == 20
                assert value["standard_error"] > 0


def test_one_command_gives_the_whole_picture_of_a_vae(runs: dict[str, Path]) -> None:
    found = measured(runs["vae"], f"--metrics={','.join(MEASURED)}", *FEW)
    assert_stamped(found, MEASURED)
    assert found["is"]["protocol"]["k"] == 300
    assert found["ais"]["protocol"]["chains"] == 4
    assert found["terms"]["data"]["preprocess"] == "threshold"

    terms, sampled = found["terms"]["values"], found["is"]["values"]
    total = terms["distortion"]["mean"] + terms["rate"]["mean"]
    np.testing.assert_allclose(terms["negative_elbo"]["mean"], total, rtol=1e-5)
    likelihood = sampled["log_likelihood"]["mean"]
    assert likelihood > -terms["negative_elbo"]["mean"]  # the bound is below what it bounds
    assert abs(likelihood - found["ais"]["values"]["log_likelihood"]["mean"]) < 1
    bits = -likelihood / (64 * math.log(2))
    np.testing.assert_allclose(sampled["bits_per_dimension"], bits, rtol=1e-6)
    parts = found["surgery"]["values"]
    np.testing.assert_allclose(
        parts["rate"]["mean"],
        parts["mutual_information"]["mean"] + parts["marginal_kl"]["mean"],
        rtol=1e-4,
    )
    assert parts["mutual_information"]["mean"] <= parts["log_images"] == math.log(20)
    activity = found["active"]["values"]["activity"]
    assert found["active"]["values"]["active_units"] == sum(a > 0.01 for a in activity) > 0


@pytest.mark.long
def test_the_rest_of_the_picture_of_a_vae(runs: dict[str, Path]) -> None:
    found = measured(runs["vae"], f"--metrics={','.join(OTHERS)}", *FEW)
    assert_stamped(found, OTHERS)
    assert found["bdmc"]["protocol"]["chains"] == 4
    gap = found["bdmc"]["values"]["gap"]
    assert -5 * gap["standard_error"] < gap["mean"] < 2


ESTIMATES = [
    ("is", -0.05, 0.1),
    pytest.param("ais", -0.05, 0.5, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("estimate", "least", "most"), ESTIMATES)
def test_a_linear_vae_is_measured_exactly_and_its_estimates_agree(
    runs: dict[str, Path], estimate: str, least: float, most: float
) -> None:
    flags = [f"--metrics=exact,{estimate},terms", "--images=20"]
    found = measured(runs["linear"], *flags, "--chains=8", "--temperatures=400")
    exact, estimated = (
        found[name]["values"]["log_likelihood"]["mean"] for name in ("exact", estimate)
    )
    assert least < exact - estimated < most
    assert exact > -found["terms"]["values"]["negative_elbo"]["mean"]
    assert "bits_per_dimension" not in found[estimate]["values"]  # a density has no bits


@pytest.mark.long
def test_annealing_measures_a_gan_under_a_normal_observation_model(runs: dict[str, Path]) -> None:
    found = measured(runs["gan"], "--metrics=bdmc,parzen", "--observation_std=0.3", *FEW)
    assert_stamped(found, OTHERS)
    assert found["bdmc"]["protocol"]["observation_std"] == 0.3
    assert found["bdmc"]["values"]["gap"]["mean"] > -3


@pytest.mark.long
def test_the_likelihood_of_a_gan_is_finite(runs: dict[str, Path]) -> None:
    found = measured(runs["gan"], "--metrics=ais", "--observation_std=0.3", *FEW)
    assert found["ais"]["protocol"]["observation_std"] == 0.3
    assert np.isfinite(found["ais"]["values"]["log_likelihood"]["mean"])


SAMPLED = {
    "frechet": {"frechet_distance", "floor"},
    "kernel": {"kernel_distance", "floor"},
    "prdc": {
        "precision",
        "recall",
        "density",
        "coverage",
        "reference_precision",
        "reference_coverage",
    },
    "score": {"inception_score", "reference_inception_score"},
    "modes": {"captured", "of", "reverse_kl"},
}
STAMP = {"features", "features_sha256", "images_are", "synthetic"}


def of_samples(folder: Path, *names: str) -> dict[str, dict]:
    """Measure a run's samples; check that the values and protocols are complete."""
    found = measured(folder, f"--metrics={','.join(names)}", "--samples=200")
    assert found.keys() == set(names)
    for metric in names:
        assert SAMPLED[metric] <= found[metric]["values"].keys()
        assert found[metric]["protocol"].keys() >= STAMP
        assert found[metric]["protocol"]["features"] == "digits"
    values = found["frechet"]["values"]
    assert 0 < values["floor"] < values["frechet_distance"]
    if "score" in names:
        scores = found["score"]["values"]
        assert scores["reference_inception_score"] > scores["inception_score"] > 1
    return found


def test_samples_are_measured_with_their_stamp_and_unlike_results_are_not_compared(
    runs: dict[str, Path],
) -> None:
    found = of_samples(runs["gan"], *SAMPLED)
    of_samples(runs["vae"], "frechet")
    flags = ["--metric=frechet", f"--workdirs={runs['gan']},{runs['gan']}"]
    done = run("compare", *flags)
    assert done.returncode == 0, done.stderr
    line = done.stdout.strip().splitlines()[-1]
    assert f"{found['frechet']['values']['frechet_distance']:.4f}" in line
    for other, words in (
        (runs["vae"], ["data.preprocess", '"unit"', '"threshold"']),
        (runs["linear"], ["no result", "latentgen.evaluate"]),
    ):
        done = run("compare", "--metric=frechet", f"--workdirs={runs['gan']},{other}")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert all(word in done.stderr for word in words)


@pytest.mark.long
def test_samples_of_a_vae_are_measured_too_and_twice_alike(runs: dict[str, Path]) -> None:
    found = of_samples(runs["vae"], *SAMPLED)
    again = measured(runs["vae"], "--metrics=frechet", "--samples=200")
    assert again["frechet"]["values"] == found["frechet"]["values"]


def test_results_are_added_and_a_torn_line_goes(runs: dict[str, Path]) -> None:
    file = runs["gan"] / "evaluations.jsonl"
    first = measured(runs["gan"], "--split=validation")["terms"]
    with open(file, "a") as log:
        log.write('{"metric": "ter')
    lines = len(read(file))
    second = measured(runs["gan"], "--split=validation")["terms"]
    assert len(read(file)) == lines + 1
    assert first["values"] == second["values"]
    assert second["split"] == "validation"


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("vae", ["--split=tset"], ["'tset'", "'test'"]),
        ("vae", ["--metrics=terms,ias"], ["'ias'", "parzen", "surgery"]),
        ("vae", ["--metrics=exact"], ["affine"]),
        ("vae", ["--metrics=is", "--k=0"], ["k"]),
        ("vae", ["--metrics=ais", "--temperatures=1"], ["temperatures"]),
        ("gan", ["--metrics=ais"], ["--observation_std"]),
        ("gan", ["--metrics=ais", "--observation_std=0"], ["--observation_std=0"]),
        ("gan", ["--metrics=active"], ["'draw'", "decode"]),
        ("gan", ["--metrics=frechet", "--features=digit"], ["'digit'", "fashion_mnist"]),
        ("gan", ["--metrics=score", "--features=pixels"], ["'pixels'", "classifier"]),
        ("gan", ["--metrics=frechet", "--features=inception"], ["--inception_weights"]),
    ],
)
def test_bad_input_is_one_line(
    runs: dict[str, Path], name: str, flags: list[str], words: list[str]
) -> None:
    file = runs[name] / "evaluations.jsonl"
    before = file.read_bytes() if file.exists() else b""
    done = run("evaluate", f"--workdir={runs[name]}", *flags)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.strip().splitlines()[-1]
    assert (file.read_bytes() if file.exists() else b"") == before
