"""`import latentgen`: train, load and use a model from Python."""

import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import latentgen
from latentgen.api import fit
from latentgen.api.model import as_dataset
from latentgen.core.errors import BadInput
from latentgen.data import sources
from latentgen.networks import mlp
from latentgen.objectives.adversarial import minimax_value
from latentgen.storage.checkpoint import describe
from latentgen.training import setup

TINY = {
    **{"steps": 40, "batch_size": 16, "every.log": 10, "every.validate": 20, "every.sample": 10},
    **{"every.checkpoint": 20, "encoder.hidden": [16], "decoder.hidden": [16]},
}
GAN = {
    **{"steps": 10, "batch_size": 16, "generator.hidden": [8], "discriminator.hidden": [8]},
    **{f"every.{hook}": 10 for hook in ("log", "validate", "sample", "checkpoint")},
}


def images(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    digits = sources.load("digits").splits["train"]
    return np.asarray(digits.x[:n], np.float32)[..., 0] / 255, digits.label[:n]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> latentgen.Model:
    workdir = tmp_path_factory.mktemp("library") / "run"
    return latentgen.train("latentgen:vae", images(), workdir=workdir, changes=TINY)


def test_importing_is_light() -> None:
    code = "import latentgen, sys; print(sorted({'jax', 'numpy', 'absl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert set(latentgen.__all__) == {n for names in latentgen.HOMES.values() for n in names}
    assert all(getattr(latentgen, name) is not None for name in latentgen.__all__)
    assert set(latentgen.__all__) <= set(dir(latentgen))
    assert all(not name.startswith("_") for name in {*dir(latentgen)} - {"__version__"})
    assert latentgen.objectives.__name__ == "latentgen.objectives"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        latentgen.nothing  # noqa: B018


def test_what_goes_in_and_comes_out_are_pixels(model: latentgen.Model) -> None:
    x, _ = images(7)
    samples = model.sample(9, seed=3)
    assert (samples.shape, samples.dtype) == ((9, 8, 8, 1), np.float32)
    assert 0 <= samples.min() < samples.max() <= 1
    np.testing.assert_array_equal(samples, model.sample(9, seed=3))
    assert not np.array_equal(samples, model.sample(9, seed=4))
    codes = model.encode(x)
    assert codes.shape == (7, 8)
    np.testing.assert_array_equal(codes, model.encode(np.rint(x * 255).astype(np.uint8)))
    np.testing.assert_array_equal(model.reconstruct(x), model.decode(codes))
    assert model._repr_png_()[:4] == b"\x89PNG"
    assert "vae" in repr(model)
    assert "step 40" in repr(model)


def test_a_loaded_model_is_the_trained_one(model: latentgen.Model) -> None:
    expected = model.sample(5)
    jax.config.update("jax_random_seed_offset", 3)
    try:
        np.testing.assert_array_equal(latentgen.load(model.run.folder).sample(5), expected)
    finally:
        jax.config.update("jax_random_seed_offset", 0)
    assert latentgen.load(model.run.folder, step=20).step == 20


def test_measures_are_those_of_the_command(model: latentgen.Model) -> None:
    found = model.evaluate(["terms", "active"], "validation")
    assert found["terms"]["loss"]["n"] == 20
    assert set(found) == {"terms", "active"}
    with pytest.raises(BadInput, match="metrics='fid': write --metrics=frechet"):
        model.evaluate("fid")
    with pytest.raises(BadInput, match=r"'images_' is no option. Valid: chains, features, images"):
        model.evaluate(images_=3)
    assert model.evaluate("terms") == {"terms": found["terms"]}  # there is no test split
    with pytest.raises(BadInput, match="split='tests' is unknown"):
        model.evaluate("terms", "tests")


def test_a_measure_that_cannot_be_had_does_not_take_the_others_along(model) -> None:
    with pytest.warns(UserWarning, match="score: "):
        found = model.evaluate(["score", "terms"])
    assert set(found) == {"terms"}
    with pytest.raises(BadInput, match="score: "):
        model.evaluate("score")


def test_a_finished_run_of_other_data_is_not_handed_out(model: latentgen.Model) -> None:
    x, label = images()
    again = {"workdir": model.run.folder, "changes": TINY}
    assert latentgen.train("latentgen:vae", (x, label), **again).step == 40
    with pytest.raises(BadInput, match="was trained on other data"):
        latentgen.train("latentgen:vae", (1 - x, label), **again)


def test_an_encoder_that_needs_labels_asks_for_them(model, monkeypatch) -> None:
    monkeypatch.setattr(model, "classes", 3)
    with pytest.raises(BadInput, match="label is missing: this model is conditioned on classes"):
        model.encode(images(2)[0])


def test_data_are_read_only_if_asked_for(model: latentgen.Model) -> None:
    found = latentgen.load(model.run.folder)
    found.sample(2)
    with pytest.raises(BadInput, match="was given its data in Python; give them to"):
        found.evaluate("terms", "validation")
    again = latentgen.load(model.run.folder, data=images())
    expected = model.evaluate("terms", "validation")
    assert again.evaluate("terms", "validation") == expected
    x, label = images()
    other = latentgen.load(model.run.folder, data=(x[::-1], label))
    with pytest.raises(BadInput, match="was trained on other data"):
        other.evaluate("terms", "validation")


def test_an_interrupt_leaves_a_model_and_the_same_call_continues(
    model: latentgen.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    seen: list[str] = []

    def show(name: str, png: bytes) -> None:
        seen.append(name)
        if name == "samples" and seen.count(name) == 2:  # after ten steps
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(fit, "_shown", lambda: show)
    before = signal.getsignal(signal.SIGINT)
    arguments = {"workdir": tmp_path / "run", "changes": TINY}
    stopped = latentgen.train("latentgen:vae", images(), **arguments)
    assert signal.getsignal(signal.SIGINT) is before
    assert "interrupted" in capsys.readouterr().err
    assert 10 <= stopped.step < 40
    assert stopped.sample(2).shape == (2, 8, 8, 1)
    whole = latentgen.train("latentgen:vae", images(), **arguments)
    assert whole.step == 40
    assert describe(whole.state) == describe(model.state)
    assert latentgen.train("latentgen:vae", images(), **arguments).step == 40  # finished


def dirac_like(tx: optax.GradientTransformation) -> latentgen.Method:
    """A GAN wired by hand, whose codes have 4 coordinates."""
    nets = {
        "generator": (mlp.decoder((8, 8, 1), (8,)), (4,)),
        "discriminator": (mlp.encoder((8,), outputs=1), (8, 8, 1)),
    }

    def run(name, params, stats, inputs, train):
        out, new = nets[name][0].apply(params[name], stats[name], inputs, train=train)
        return out, stats | {name: new}

    def loss(params, stats, batch, key, step, train):
        z = jax.random.normal(key, (len(batch.x), 4))
        x, stats = run("generator", params, stats, z, train)
        synthetic, stats = run("discriminator", params, stats, x, train)
        real, stats = run("discriminator", params, stats, batch.x, train)
        return minimax_value(real[:, 0], synthetic[:, 0]), (stats, {})

    decode = lambda state, z, label=None: run("generator", *state[:2], z, False)[0]  # noqa: E731
    codes = lambda state, key, n: jax.random.normal(key, (n, 4))  # noqa: E731
    phases = [
        latentgen.Phase(loss, ("discriminator",), latentgen.ascend(tx)),
        latentgen.Phase(loss, ("generator",), tx),
    ]
    sample = lambda state, key, n: decode(state, codes(state, key, n))  # noqa: E731
    probes = {"codes": codes, "decode": decode}
    return latentgen.game(latentgen.players(nets), phases, sample, probes)


def test_a_method_wired_by_hand_trains_into_a_workdir(tmp_path: Path) -> None:
    method = dirac_like(optax.adam(1e-3))
    changes = {"steps": 20, "every.log": 10, "every.validate": 20, "every.sample": 20}
    changes |= {"every.checkpoint": 20, "batch_size": 16}
    made = latentgen.train(method, images(), workdir=tmp_path / "run", changes=changes)
    found = latentgen.load(tmp_path / "run", method=method)
    np.testing.assert_array_equal(found.sample(3), made.sample(3))
    with pytest.raises(BadInput, match=r"latentgen.load\(workdir, method=...\) opens it"):
        latentgen.load(tmp_path / "run")
    for steps in (20, 40):  # of the finished run, and of one to be continued
        again = {"workdir": tmp_path / "run", "changes": changes | {"steps": steps}, "extend": True}
        with pytest.raises(BadInput, match="holds a run of another method, whose steps differ"):
            latentgen.train(dirac_like(optax.adam(2e-3)), images(), **again)
    assert latentgen.train(dirac_like(optax.adam(1e-3)), images(), **again).step == 40


def test_a_finished_run_goes_on_only_if_asked_to(tmp_path: Path) -> None:
    run = {"data": images(), "workdir": tmp_path / "run"}
    latentgen.train("latentgen:gan", changes=GAN, **run)
    longer = GAN | {"steps": 20, "generator_optimizer.lr": 1e-4}
    with pytest.raises(BadInput, match=r": generator_optimizer.lr: .* --allow_change"):
        latentgen.train("latentgen:gan", changes=longer, extend=True, **run)
    allowed = {"extend": True, "allow_change": ["generator_optimizer.lr"]}
    assert latentgen.train("latentgen:gan", changes=longer, **allowed, **run).step == 20


def test_labels_condition(tmp_path: Path) -> None:
    made = latentgen.train("latentgen:gan:conditional", images(), workdir=tmp_path, changes=GAN)
    assert made.sample(3, label=7).shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(made.sample(12), made.sample(12, label=np.arange(12) % 10))
    with pytest.raises(BadInput, match=r"label=10 does not fit this model. Valid: 3 whole numbers"):
        made.sample(3, label=10)


@pytest.mark.long
def test_points_have_no_pixels(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(300, 2))
    made = latentgen.train("latentgen:gan:ring", points, workdir=tmp_path, changes=GAN)
    assert made.sample(5).shape == (5, 2)
    assert made._repr_png_() is None


@pytest.mark.parametrize(
    ("data", "changes", "said"),
    [
        (np.zeros((4, 2, 2, 2, 2)), {}, "must be images"),
        (np.full((9, 8, 8), 2.0), {}, "must be uint8, or floats in"),
        (np.zeros((9, 8, 8), np.int64), {}, "images of int64 must be uint8"),
        ((np.zeros((9, 8, 8)), np.zeros(8, int)), {}, "must be 9 whole numbers"),
        (np.full((9, 2), np.nan), {}, "points must be finite"),
        ((np.zeros((9, 8, 8)), np.zeros(9, int), 0), {}, "data of 3 values must be x, or a pair"),
        (np.zeros((9, 8, 8)), {"lr": 3.0}, "no key of the config; did you mean 'optimizer.lr'?"),
        (np.zeros((40, 8, 8)), {"data.size": 16}, "config.data.size=16 must be 0 for arrays"),
        (np.zeros((40, 8, 8)), {"data.balance": True}, "config.data.balance=True needs classes"),
        (np.zeros((9, 8, 8)), {"step": 3}, "changes='step' is no key of the config; did you mean"),
        (np.zeros((9, 8, 8)), {"batch_size": 0}, "config.batch_size=0 must be at least 1"),
    ],
    ids=range(11),
)
def test_bad_input_is_told_in_a_line(data, changes, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        latentgen.train("latentgen:vae", data, workdir=tmp_path / "run", changes=changes)
    assert said in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_split_of_a_data_set_is_data() -> None:
    digits = sources.load("digits").splits["train"]
    found = as_dataset(digits, 10).splits
    np.testing.assert_array_equal(found["train"].x, digits.x[:-10])
    np.testing.assert_array_equal(found["validation"].label, digits.label[-10:])


def test_a_recipe_is_found_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'gam' is no recipe; did you mean 'gan'"):
        latentgen.train("latentgen:gam", images(), workdir=tmp_path / "run")
    with pytest.raises(BadInput, match="there is no file 'gan'; did you mean latentgen:gan:dcgan"):
        latentgen.train("gan:dcgan", images(), workdir=tmp_path / "run")
    with pytest.raises(BadInput, match="data is missing"):
        latentgen.train(dirac_like(optax.sgd(0.1)), workdir=tmp_path / "run")


def test_samples_may_be_truncated_and_interpolated(model: latentgen.Model) -> None:
    codes = model.method.probes["codes"]
    plain, half = model.sample(200), model.sample(200, truncation=0.5)
    assert half.std(axis=0).mean() < plain.std(axis=0).mean()
    assert codes(model.state, jax.random.key(0), 1).shape == (1, 8)
    path = model.interpolate(codes=3, frames=4, seed=2)
    assert path.shape == (12, 8, 8, 1)
    steps = abs(np.diff(np.concatenate([path, path[:1]]), axis=0)).max(axis=(1, 2, 3))
    assert steps.max() < abs(path[0] - path[4]).max()
    with pytest.raises(BadInput, match=r"truncation=20.0 must be above 0 and at most 10"):
        model.sample(1, truncation=20.0)
    with pytest.raises(BadInput, match="frames=0 must be at least 1"):
        model.interpolate(frames=0)


def test_inversion_is_nearer_than_the_encoder(model: latentgen.Model) -> None:
    x, _ = images(4)
    found = model.invert(x, steps=60, restarts=2)
    np.testing.assert_allclose(model.decode(found.codes), found.x, atol=1e-6)
    square = lambda y: ((y - x[..., None]) ** 2).sum(axis=(1, 2, 3))  # noqa: E731
    np.testing.assert_allclose(found.distances, square(found.x), rtol=1e-4)
    assert (found.distances < square(model.reconstruct(x))).all()
    with pytest.raises(BadInput, match=r"'step' is no option. Valid: distance, lr"):
        model.invert(x, step=3)


def test_codes_and_examples_that_do_not_fit_are_refused(model: latentgen.Model) -> None:
    with pytest.raises(BadInput, match=r"codes of shape \(3, 5\) must be \(n, 8\)"):
        model.decode(np.zeros((3, 5)))
    with pytest.raises(BadInput, match=r"examples of shape \(2, 9, 9\) must be"):
        model.encode(np.zeros((2, 9, 9)))
    with pytest.raises(BadInput, match="n=0 must be at least 1"):
        model.sample(0)
    with pytest.raises(BadInput, match=r"label=3 does not fit this model. Valid: None"):
        model.sample(2, label=3)


def test_a_run_of_an_earlier_release_is_loaded_too(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "0.1.0" / "vae"
    found = latentgen.load(golden)
    assert found.sample(2).shape == (2, 8, 8, 1)
    assert setup.workdir.described(golden) == {}
