"""AAE, VAE-GAN and BiGAN: updates by finite differences, values by NumPy, a short run on digits."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from latentgen import configs
from latentgen.core.errors import BadInput
from latentgen.core.game import run_chunk
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method, Net, State
from latentgen.data import pipeline, sources
from latentgen.data.preprocess import PREPROCESS
from latentgen.methods import aae, bigan, vaegan
from latentgen.networks import mlp
from latentgen.networks.net import bound_output
from latentgen.objectives.adversarial import LOSSES
from latentgen.probability import likelihoods, posteriors, priors

ROOT = Path(__file__).parents[2]
SHAPE = (3, 2, 1)
DIM, WIDTH, GAMMA = 2, 4, 0.7
sigmoid, log_sigmoid = scipy.special.expit, scipy.special.log_expit


def to(outputs: int, hidden: tuple[int, ...] = (5,)) -> Net:
    return mlp.encoder(hidden, outputs=outputs, activation="tanh", dtype=jnp.float64)


def image(hidden: tuple[int, ...] = (5,)) -> Net:
    return mlp.decoder(SHAPE, hidden, activation="tanh", dtype=jnp.float64)


def txs(turn: int, turns: int) -> list[optax.GradientTransformation]:
    """Plain gradient steps of size 1 in one turn, and no steps in the others."""
    return [optax.sgd(1.0) if i == turn else optax.set_to_zero() for i in range(turns)]


def small_aae(turn: int, game: str = "relativistic") -> Method:
    likelihood = likelihoods.normal_learned(0.4, 0.01)
    model = aae.Model(to(DIM), image(), to(1), priors.normal(DIM), likelihood)
    return aae.aae(model, LOSSES[game], *txs(turn, 3), SHAPE)


def vaegan_model(hidden: tuple[int, ...] = (5,)) -> vaegan.Model:
    family = posteriors.diagonal(DIM)
    decoder = bound_output(image(hidden), -1.0, 1.0)
    return vaegan.Model(
        to(family.outputs, hidden), decoder, to(WIDTH, hidden), to(1, ()), family, DIM, WIDTH
    )


def small_vaegan(turn: int, game: str = "relativistic") -> Method:
    return vaegan.vaegan(vaegan_model(), LOSSES[game], GAMMA, *txs(turn, 3), SHAPE)


def bigan_model(stochastic: bool) -> bigan.Model:
    family = posteriors.diagonal(DIM) if stochastic else None
    encoder = to(2 * DIM if stochastic else DIM)
    nets = bound_output(image(), 0.0, 1.0), encoder, to(WIDTH), to(1)
    return bigan.Model(*nets, priors.normal(DIM), family, WIDTH)


def small_bigan(turn: int, game: str = "relativistic", stochastic: bool = False) -> Method:
    discriminator_tx, generator_tx = txs(turn, 2)
    model = bigan_model(stochastic)
    return bigan.bigan(model, LOSSES[game], generator_tx, discriminator_tx, SHAPE)


def small_ali(turn: int, game: str = "relativistic") -> Method:
    return small_bigan(turn, game, stochastic=True)


DISCRIMINATOR = ("features", "head")
TURNS = [  # method, turn, who moves, the metric that they climb (1) or descend (-1)
    (small_aae, 0, ("encoder", "decoder", "likelihood"), "distortion", -1),
    (small_aae, 1, ("discriminator",), "discriminator_value", 1),
    (small_aae, 2, ("encoder",), "encoder_loss", -1),
    (small_vaegan, 0, ("encoder",), "encoder_loss", -1),
    (small_vaegan, 1, ("decoder",), "decoder_loss", -1),
    (small_vaegan, 2, DISCRIMINATOR, "discriminator_value", 1),
    (small_bigan, 0, DISCRIMINATOR, "discriminator_value", 1),
    (small_bigan, 1, ("generator", "encoder"), "generator_loss", -1),
    (small_ali, 1, ("generator", "encoder"), "generator_loss", -1),
]


def begin(method: Method) -> State:
    state = jax.jit(method.init)(run_key(0))
    return jax.tree.map(
        lambda a: a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, state
    )


def batch() -> Batch:
    x = jax.random.uniform(jax.random.key(5), (1, 7, *SHAPE), jnp.float64)
    return Batch(x, jnp.zeros((1, 7), jnp.int32))


def one_batch() -> Batch:
    return jax.tree.map(lambda a: a[0], batch())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("make", "turn", "players", "metric", "sign"), TURNS)
@pytest.mark.quick(4)
def test_a_turn_moves_its_players_by_the_slope_of_what_it_reports(
    make: Callable[..., Method],
    turn: int,
    players: tuple[str, ...],
    metric: str,
    sign: int,
) -> None:
    """Check <update, u> = sign d/dt metric(params + t u) in several directions u.

    In the relativistic game every value depends on real and synthetic logits.
    """
    method = make(turn)
    step = jax.jit(lambda s: method.step(s, jnp.int32(1), batch(), run_key(0)))
    state = begin(method)
    end, _ = step(state)
    for name in state.params.keys() - set(players):
        assert_bitwise(state.params[name], end.params[name])

    def at(t: float, direction: dict) -> float:
        mine = {
            p: jax.tree.map(lambda a, u: a + t * u, state.params[p], direction[p]) for p in players
        }
        return float(step(state._replace(params=state.params | mine))[1][metric])

    rng, h = np.random.default_rng(0), 1e-5
    for _ in range(4):
        direction = {
            p: jax.tree.map(lambda a: jnp.array(rng.normal(size=a.shape)), state.params[p])
            for p in players
        }
        moved = jax.tree.map(
            lambda a, b, u: float(((b - a) * u).sum()),
            *({p: tree[p] for p in players} for tree in (state.params, end.params, direction)),
        )
        slope = (at(h, direction) - at(-h, direction)) / (2 * h)
        assert abs(slope) > 1e-4
        np.testing.assert_allclose(sum(jax.tree.leaves(moved)), sign * slope, rtol=1e-6, atol=1e-8)


def assert_bitwise(a: dict, b: dict) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


# BiGAN


PAIRED = {  # what generator and encoder descend, from logits r of (x, E(x)) and s of (G(z), z)
    "minimax": lambda r, s: log_sigmoid(r) + log_sigmoid(-s),
    "nonsaturating": lambda r, s: -(log_sigmoid(s) + log_sigmoid(-r)) / 2,
    "wasserstein": lambda r, s: r - s,
    "hinge": lambda r, s: (r - s) / 2,
    "relativistic": lambda r, s: -log_sigmoid(s - r),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("game", PAIRED)
def test_both_ways_is_its_formula(game: str) -> None:
    real, synthetic = jnp.linspace(-6, 5, 23), jnp.linspace(4, -3, 23) ** 3 / 9
    found = bigan.symmetric(LOSSES[game].generator_loss, real, synthetic)
    np.testing.assert_allclose(found, PAIRED[game](real, synthetic), rtol=1e-12)


def number(apply: Callable) -> Net:
    return Net(
        lambda key, x: (jnp.zeros(()), {}),
        lambda params, stats, x, train, key=None: (apply(params, x), stats),
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("game", ["minimax", "nonsaturating"])
def test_bigan_of_three_numbers_moves_as_computed_by_hand(game: str) -> None:
    """x and z are numbers, G(z) = g z, E(x) = e x, D(x, z) has the logit psi x z."""
    z = np.array([0.3, -1.1, 0.8, 1.9])
    fixed = priors.Prior(1, lambda key, n: jnp.array(z)[:, None], lambda z: jnp.zeros(len(z)))
    pair = number(lambda psi, pair: psi * pair[:, :1] * pair[:, 1:])
    line = number(lambda slope, x: slope * x)
    model = bigan.Model(line, line, number(lambda _, x: x), pair, fixed, None, 1)
    x = np.array([1.2, -0.4, 0.7, -2.0])
    g, e, psi = 0.6, -0.9, 1.4
    r, s = psi * e * x**2, psi * g * z**2
    weight = {  # the slopes of the value in r and in s
        "minimax": (sigmoid(-r), -sigmoid(s)),
        "nonsaturating": (sigmoid(r) / 2, -sigmoid(-s) / 2),
    }[game]
    moves = {
        1: {"encoder": -(weight[0] * psi * x**2).mean(), "generator": -(weight[1] * psi * z**2)},
        0: {"head": (sigmoid(-r) * e * x**2 - sigmoid(s) * g * z**2).mean()},
    }
    for turn, expected in moves.items():
        discriminator_tx, generator_tx = txs(turn, 2)
        method = bigan.bigan(model, LOSSES[game], generator_tx, discriminator_tx, (1,))
        state = method.init(run_key(0))
        params = {"generator": g, "encoder": e, "features": 0.0, "head": psi}
        params = {name: jnp.float64(value) for name, value in params.items()}
        data = Batch(jnp.array(x)[None, :, None], jnp.zeros((1, 4), jnp.int32))
        end, _ = method.step(state._replace(params=params), jnp.int32(0), data, run_key(0))
        for name, value in params.items():
            move = np.mean(expected.get(name, 0.0))
            np.testing.assert_allclose(end.params[name] - value, move, rtol=1e-12, atol=1e-15)


def affine(params: dict, x: np.ndarray) -> np.ndarray:
    """An MLP without hidden layers, in NumPy."""
    layer = params["Linear_0"]["Dense_0"]
    return x.reshape(len(x), -1) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])


def with_bias(params: dict, first: int, value: float) -> dict:
    """The network with its bias replaced from this output on."""
    layer = params["Linear_0"]["Dense_0"]
    return mlp.affine_params(layer["kernel"], layer["bias"].at[first:].set(value))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("stochastic", [False, True])
def test_bigan_pairs_an_image_with_its_own_code(stochastic: bool) -> None:
    """Logits of (x, E(x)) by NumPy; a stochastic encoder is given next to no noise."""
    nets = image(()), to(2 * DIM if stochastic else DIM, ()), to(WIDTH, ()), to(1, ())
    family = posteriors.diagonal(DIM) if stochastic else None
    model = bigan.Model(*nets, priors.normal(DIM), family, WIDTH)
    method = bigan.bigan(model, LOSSES["minimax"], *txs(0, 2), SHAPE)
    state = begin(method)
    state.params["encoder"] = with_bias(state.params["encoder"], DIM, -40.0)
    terms = jax.jit(method.terms)(state, jnp.int32(0), one_batch(), run_key(0))
    x, params = np.asarray(one_batch().x), state.params
    code = affine(params["encoder"], x)[:, :DIM]
    pair = np.concatenate([affine(params["features"], x), code], axis=1)
    expected = affine(params["head"], pair)[:, 0]
    np.testing.assert_allclose(terms["real_logit"], expected, rtol=1e-9)
    discriminated = method.probes["discriminate"](state, one_batch().x)
    np.testing.assert_allclose(discriminated, expected, rtol=1e-9)


def test_bigan_refuses_what_does_not_fit() -> None:
    config = digits("bigan")
    config["method"]["loss"] = "least_squares"
    with pytest.raises(BadInput, match=r"config\.method\.loss='least_squares'.*Valid: hinge"):
        configs.experiment(config)
    config = digits("bigan")
    config["head"]["hidden"] = ()
    with pytest.raises(BadInput, match=r"config\.head\.hidden=\(\)"):
        configs.experiment(config)


# VAE-GAN


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("log_std", [-40.0, -0.5])
def test_vaegan_terms_are_computed_by_numpy(log_std: float) -> None:
    """Affine networks; with log std = -40 the code is the mean, and the error in features too."""
    method = vaegan.vaegan(vaegan_model(()), LOSSES["minimax"], GAMMA, *txs(0, 3), SHAPE)
    state = begin(method)
    params = state.params
    params["encoder"] = with_bias(params["encoder"], DIM, log_std)
    terms = jax.jit(method.terms)(state, jnp.int32(0), one_batch(), run_key(0))
    x = np.asarray(one_batch().x)
    mean, log_std_of = np.split(affine(params["encoder"], x), 2, axis=1)
    variance = np.exp(2 * log_std_of)
    rate = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(axis=1)
    np.testing.assert_allclose(terms["rate"], rate, rtol=1e-9)
    features = affine(params["features"], x)
    leaky = lambda f: np.where(f > 0, f, 0.2 * f)  # noqa: E731
    real = affine(params["head"], leaky(features))[:, 0]
    np.testing.assert_allclose(terms["real_logit"], real, rtol=1e-9)
    prior, encoding = (np.asarray(terms[f"{name}_logit"]) for name in ("prior", "encoding"))
    value = log_sigmoid(real) + (log_sigmoid(-prior) + log_sigmoid(-encoding)) / 2
    np.testing.assert_allclose(terms["discriminator_value"], value, rtol=1e-9)
    np.testing.assert_allclose(terms["encoder_loss"], rate + terms["feature_error"], rtol=1e-9)
    if log_std > -40:
        return
    again = affine(params["features"], np.tanh(affine(params["decoder"], mean) / 2))  # in [-1, 1]
    error = ((features - again) ** 2).sum(axis=1) / 2
    np.testing.assert_allclose(terms["feature_error"], error, rtol=1e-9)
    np.testing.assert_allclose(encoding, affine(params["head"], leaky(again))[:, 0], rtol=1e-9)
    weighted = GAMMA * error + terms["fooling"]
    np.testing.assert_allclose(terms["decoder_loss"], weighted, rtol=1e-9)


# AAE


def digits(variant: str) -> dict:
    return runpy.run_path(str(ROOT / "experiments" / "hybrids.py"))["get_config"](variant).to_dict()


def trained_codes(adversary: bool, steps: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of digits before and after a short run, and the distortion in each step."""
    nets = mlp.encoder((32,), outputs=DIM), mlp.decoder((8, 8, 1), (32,)), mlp.encoder(outputs=1)
    model = aae.Model(*nets, priors.normal(DIM), likelihoods.bernoulli())
    turn = optax.adam(2e-3, b1=0.5) if adversary else optax.set_to_zero()
    method = aae.aae(model, LOSSES["nonsaturating"], optax.adam(3e-3), turn, turn, (8, 8, 1))
    key, train = run_key(0), sources.load("digits").splits["train"]
    feed = pipeline.feed(train, PREPROCESS["unit"], 64, method.draws, key)
    start = jax.jit(method.init)(key)
    end, metrics = jax.jit(
        lambda s, rows, data: run_chunk(method, feed.batches, s, jnp.arange(steps), rows, data, key)
    )(start, feed.rows(0, steps), feed.resident)
    x = jnp.asarray(train.x[:500], jnp.float32) / 255
    before, after = (np.asarray(method.probes["encode"](state, x)) for state in (start, end))
    return before, after, np.asarray(metrics["distortion"])


def from_prior(z: np.ndarray) -> float:
    """Largest absolute mean or log std of the codes' coordinates."""
    return max(np.abs(z.mean(axis=0)).max(), np.abs(np.log(z.std(axis=0))).max())


def test_an_aae_without_its_adversary_is_an_autoencoder_and_with_it_codes_near_the_prior() -> None:
    before, alone, distortion = trained_codes(adversary=False)
    assert distortion[-50:].mean() < 0.75 * distortion[:5].mean()
    _, opposed, also = trained_codes(adversary=True)
    assert also[-50:].mean() < 0.75 * also[:5].mean()
    assert from_prior(opposed) < 0.5
    assert from_prior(before) > 1.5
    assert from_prior(alone) > 1.5


# Augmentation of what the discriminator sees


def narrow(variant: str, **changes: Any) -> dict:
    config = json.loads(json.dumps(digits(variant)))
    config["method"] |= changes
    for name in ("encoder", "decoder", "generator", "discriminator", "head"):
        if name in config:
            config[name]["hidden"] = [4]
    return config


@pytest.mark.long  # gan: a row of test_methods.py
@pytest.mark.parametrize("variant", ["vaegan", "bigan"])
def test_a_discriminator_sees_augmented_images(variant: str) -> None:
    x = jax.random.uniform(jax.random.key(3), (1, 6, 8, 8, 1))
    logits = {}
    for name in ("none", "diffaugment"):
        method = configs.experiment(narrow(variant, augment=name)).plan.wire((8, 8, 1))
        data = Batch(jnp.repeat(x, method.draws, 0), jnp.zeros((method.draws, 6), jnp.int32))
        _, metrics = jax.jit(method.step)(method.init(run_key(0)), 0, data, run_key(1))
        logits[name] = float(metrics["real_logit"])
    assert abs(logits["none"] - logits["diffaugment"]) > 1e-3


def test_an_augmentation_of_probability_0_is_refused() -> None:
    with pytest.raises(BadInput, match=r"augment='ada' changes nothing with .*augment_p"):
        configs.experiment(narrow("bigan", augment="ada"))
