"""Details of the papers' code in named recipes: optimizers, ranges, units of penalties."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import gan, vae
from latentgen import configs
from latentgen.configs.components import SCHEDULES, optimizer
from latentgen.configs.section import Section, plain
from latentgen.core.types import Net
from latentgen.networks.net import OUTPUTS, bound_output
from latentgen.objectives.penalties import PENALTIES, rescale_gamma
from latentgen.probability import priors

KEY = jax.random.key(0)
rng = np.random.default_rng(0)
GRADIENTS = [{"w": rng.normal(size=4), "b": rng.normal(size=2) / 100} for _ in range(5)]


def updates_of(settings: dict, steps: int = 100) -> list[dict[str, np.ndarray]]:
    """The updates of an optimizer for GRADIENTS, one image each; see `wrappers.scheduled`."""
    section = Section("config.optimizer", settings)
    state = optimizer(section, steps).init(jax.tree.map(jnp.zeros_like, GRADIENTS[0]))
    found = []
    for images, gradient in enumerate(GRADIENTS):
        now = {key.split(".")[-1]: value(images) for key, value in section.schedules.items()}
        tx = optimizer(Section("config.optimizer", settings | now), steps)
        updates, state = tx.update(jax.tree.map(jnp.float32, gradient), state)
        found.append(jax.tree.map(np.asarray, updates))
    return found


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_r1_has_pytorchs_rmsprop(player: str) -> None:
    """lr g / (sqrt(G) + eps), G <- 0.99 G + 0.01 g^2 from 0: the first step is 10 lr."""
    found = updates_of(gan.r1()[f"{player}_optimizer"].to_dict())
    square = jax.tree.map(np.zeros_like, GRADIENTS[0])
    for gradient, updates in zip(GRADIENTS, found, strict=True):
        for name, g in gradient.items():
            square[name] = 0.99 * square[name] + 0.01 * g**2
            expected = -1e-4 * g / (np.sqrt(square[name]) + 1e-8)
            np.testing.assert_allclose(updates[name], expected, rtol=1e-5)


def test_infogan_has_tensorflows_adam() -> None:
    """lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), epsilon large enough to show."""
    settings = gan.infogan().generator_optimizer.to_dict()
    assert (settings["lr"], settings["b1"], settings["eps"]) == (1e-3, 0.5, 1e-8)
    mean = jax.tree.map(np.zeros_like, GRADIENTS[0])
    square = jax.tree.map(np.zeros_like, GRADIENTS[0])
    found = updates_of(settings | {"eps": 1e-2})
    for t, (gradient, updates) in enumerate(zip(GRADIENTS, found, strict=True), start=1):
        for name, g in gradient.items():
            mean[name] = 0.5 * mean[name] + 0.5 * g
            square[name] = 0.999 * square[name] + 0.001 * g**2
            rate = 1e-3 * np.sqrt(1 - 0.999**t) / (1 - 0.5**t)
            expected = -rate * mean[name] / (np.sqrt(square[name]) + 1e-2)
            np.testing.assert_allclose(updates[name], expected, rtol=1e-4)


def test_r3gan_has_adam_whose_rate_and_b2_change_together() -> None:
    """PyTorch's, with the new b2 in the correction of all updates: v / (1 - b2^t)."""
    settings = gan.r3gan_cifar10().generator_optimizer.to_dict()
    for key in ("lr", "b2"):
        settings[key] = settings[key].replace("images=2e+07", "images=4")
    assert (settings["b1"], settings["eps"]) == (0.0, 1e-8)
    square = jax.tree.map(np.zeros_like, GRADIENTS[0])
    for t, (gradient, updates) in enumerate(zip(GRADIENTS, updates_of(settings), strict=True)):
        share = (1 - np.cos(np.pi * min(t / 4, 1))) / 2
        rate, b2 = 2e-4 + (5e-5 - 2e-4) * share, 0.9 + 0.09 * share
        for name, g in gradient.items():
            square[name] = b2 * square[name] + (1 - b2) * g**2
            expected = -rate * g / (np.sqrt(square[name] / (1 - b2 ** (t + 1))) + 1e-8)
            np.testing.assert_allclose(updates[name], expected, rtol=1e-4)


def test_epsilon_outside_the_root_is_for_any_player() -> None:
    config = gan.nonsaturating().to_dict()
    for player in ("generator", "discriminator"):
        config[f"{player}_optimizer"]["name"] = "rmsprop_torch"
    configs.experiment(config)


def test_adam_norm_grad_is_adam_of_gradients_of_length_one() -> None:
    settings = vae.vamp().optimizer.to_dict()
    assert settings["name"] == "adam_norm_grad"
    tx = optax.adam(5e-4, b1=0.9, b2=0.999, eps=1e-8)
    state = tx.init(jax.tree.map(jnp.zeros_like, GRADIENTS[0]))
    for gradient, found in zip(GRADIENTS, updates_of(settings), strict=True):
        unit = {name: g / np.sqrt((g**2).sum()) for name, g in gradient.items()}
        expected, state = tx.update(jax.tree.map(jnp.float32, unit), state)
        for name in gradient:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)


def test_rates_fall_on_a_line_to_0_at_the_end() -> None:
    rate = SCHEDULES["linear"](2e-4, 50_000)
    np.testing.assert_allclose([rate(0), rate(25_000), rate(50_000)], [2e-4, 1e-4, 0], atol=1e-12)


def test_gamma_in_other_units_is_the_same_penalty() -> None:
    """Compare one discriminator on the same images in [-1, 1] and in [0, 1]."""
    signed = jax.random.uniform(KEY, (5, 3), minval=-1.0)
    seen = lambda x: jnp.tanh(x @ jnp.arange(1.0, 4.0)) + x[:, 0] ** 2  # noqa: E731
    unit_seen = lambda x: seen(2 * x - 1)  # noqa: E731
    for name in ("r1", "r2", "r1_r2"):
        there = 20.0 * PENALTIES[name](seen, signed, signed, KEY)
        unit = (signed + 1) / 2
        here = rescale_gamma((0.0, 1.0), 20.0) * PENALTIES[name](unit_seen, unit, unit, KEY)
        np.testing.assert_allclose(here, there, rtol=1e-5)
    assert rescale_gamma((-1.0, 1.0), 5.0, of=(0.0, 1.0)) == 20.0


def test_the_r1_recipe_is_its_codes_penalty() -> None:
    """Theirs is 10 |grad|^2, on images in [-1, 1]: 5 |x'|^2 here would be the paper's with half."""
    config = gan.r1()
    assert (config.data.preprocess, config.method.output) == ("signed", "tanh")
    w = jnp.array([3.0, 0.0, 4.0])
    x = jax.random.normal(KEY, (4, 3))
    found = config.method.penalty_weight * PENALTIES["r1"](lambda x: x @ w, x, x, KEY)
    np.testing.assert_allclose(found, np.full(4, 10 * 25.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sigmoid", 1 / (1 + np.exp(-1.5)) * 2 - 1), ("tanh", np.tanh(1.5)), ("linear", 1.5)],
)
def test_what_a_generator_ends_with(name: str, expected: float) -> None:
    plain_net = Net(lambda key, x: ({}, {}), lambda p, s, x, train, key=None: (x, s))
    x, _ = bound_output(plain_net, -1.0, 1.0, name).apply({}, {}, jnp.array([1.5]), train=True)
    np.testing.assert_allclose(x, [expected], rtol=1e-6)
    if name != "linear":
        ends = OUTPUTS[name](jnp.array([-50.0, 0.0, 50.0]), 0.0, 3.0)
        np.testing.assert_allclose(ends, [0, 1.5, 3], atol=1e-6)


def test_a_config_from_before_a_key_came_is_the_same_config() -> None:
    now = gan.nonsaturating().to_dict()
    before = copy.deepcopy(now)
    del before["method"]["output"], before["skip_diverged"]
    assert plain(before) == plain(now)
    configs.experiment(before)
    other = copy.deepcopy(now)
    other["method"]["output"] = "tanh"
    assert plain(other) != plain(now)


def test_one_sided_dragan_asks_between_an_example_and_half_a_deviation_above() -> None:
    """l = x^2 / 2, x = 4 +- 1: E (x + a u / 2 - 1)^2 with E a u = 1/4 and E (a u)^2 = 1/9."""
    n = 40_000
    real = jnp.where(jnp.arange(n) % 2 == 0, 3.0, 5.0)[:, None]
    found = PENALTIES["dragan_one_sided"](lambda x: x[:, 0] ** 2 / 2, real, real, KEY)
    expected = np.mean([(x - 1) ** 2 + (x - 1) / 4 + 1 / 36 for x in (3.0, 5.0)])
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(n)
    assert found.min() >= (3 - 1) ** 2
    assert (5 - 1 + 0.49) ** 2 < found.max() <= (5 - 1 + 0.5) ** 2
    assert gan.dragan().method.penalty == "dragan_one_sided"


def test_clipped_pseudo_inputs_start_near_black_and_are_cut_off() -> None:
    prior = priors.vamp(2, 50, (4, 4, 1), -1.0, 1.0, clipped=True)
    params = prior.init(KEY)
    raw = np.asarray(params["pseudo_inputs"])
    np.testing.assert_allclose([raw.mean(), raw.std()], [-0.9, 0.02], rtol=0.05)
    ends = priors.pseudo_inputs({"pseudo_inputs": jnp.array([-9.0, 0.3, 9.0])}, -1.0, 1.0, True)
    np.testing.assert_allclose(ends, [-1.0, 0.3, 1.0], rtol=1e-6)
    assert vae.vamp().method.prior == "vamp_clipped"


def test_burda_has_epsilon_of_the_batchs_sum() -> None:
    """Adam of 20 g with epsilon 1e-4 is Adam of g with a twentieth of it."""
    config = vae.burda()
    assert (config.data.validation, config.steps) == (400, 3_280 * 59_600 // 20)
    settings = config.optimizer.to_dict() | {"schedule": "constant"}
    tx = optax.adam(1e-3, b1=0.99, b2=0.999, eps=1e-4)
    state = tx.init(jax.tree.map(jnp.zeros_like, GRADIENTS[0]))
    for gradient, found in zip(GRADIENTS, updates_of(settings), strict=True):
        total = jax.tree.map(lambda g: jnp.float32(20 * g), gradient)
        expected, state = tx.update(total, state)
        for name in gradient:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)
