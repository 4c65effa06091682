"""Hyperparameters that change with the images seen."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen import configs
from latentgen.configs import recipes
from latentgen.configs.components import average, optimizer
from latentgen.configs.section import Section
from latentgen.core.errors import BadInput
from latentgen.core.game import game
from latentgen.core.keys import run_key
from latentgen.core.schedules import Schedule, parse
from latentgen.core.types import Batch, Phase
from latentgen.core.wrappers import scheduled, with_microbatches

SECTION = {
    **{"name": "adam", "schedule": "constant", "lr": 0.1, "b1": 0.0, "b2": 0.9},
    **{"eps": 1e-8, "momentum": 0.0, "clip_norm": 0.0},
}


@pytest.mark.parametrize(
    ("images", "value"),
    [
        (0, 2.0),
        (250, 2 + (1 - math.cos(math.pi / 4)) / 2 * -1.8),
        (500, 1.1),
        (1000, 0.2),
        (2e9, 0.2),
    ],
)
def test_half_a_cosine_from_the_first_value_to_the_last(images: float, value: float) -> None:
    np.testing.assert_allclose(parse("cosine(2, .2, images=1e3)")(images), value, rtol=1e-6)


def test_a_line() -> None:
    assert parse(" linear( 1e0 ,0 , images = 10 )")(5) == 0.5


@pytest.mark.parametrize(
    "text",
    ["cosine(1, 2)", "cosine(1, 2, images=0)", "sine(1, 2, images=3)", "cosine(1, x, images=3)"],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is no schedule"):
        parse(text)


def test_values_out_of_range_are_refused_at_both_ends() -> None:
    for text in ("cosine(0.5, 1.5, images=1)", "cosine(1.5, 0.5, images=1)"):
        with pytest.raises(BadInput, match=r"config.optimizer.b2=1.5 must be at most 0.99999"):
            Section("config.optimizer", {"b2": text}).number("b2", low=0.0, high=0.99999)
    with pytest.raises(BadInput, match=r"config.method.std=0.0 must be at least"):
        Section("config.method", {"std": "linear(1, 0, images=1)"}).positive("std")


def test_where_a_number_is_no_hyperparameter_a_schedule_is_refused() -> None:
    text = "linear(0.5, 0.1, images=1)"
    for section, fixed in (("config.encoder", False), ("config.method", True)):
        with pytest.raises(BadInput, match=r"='linear.* must be a number\."):
            Section(section, {"dropout": text}).number("dropout", fixed=fixed)
    with pytest.raises(BadInput, match=r"ema_more='linear.* must be a number\."):
        Section("config.method", {"ema_more": (text,)}).numbers("ema_more")


def test_where_0_switches_off_a_schedule_stays_above_it() -> None:
    section = Section("config.optimizer", SECTION | {"clip_norm": "linear(1, 0, images=1)"})
    with pytest.raises(BadInput, match=r"config.optimizer.clip_norm=0.0 must be at least"):
        optimizer(section, 4)


def test_a_refusal_names_the_schedule() -> None:
    config = recipes.load("latentgen:vae").to_dict()
    config["method"] |= {"bound": "iwae", "kl": "sampled", "free_nats": "linear(0, 1, images=9)"}
    with pytest.raises(BadInput, match=r"free_nats='linear\(0, 1, images=9\)' does not fit"):
        configs.experiment(config)


def test_gradients_of_a_scheduled_method_accumulate() -> None:
    make = by_gradients(lambda h: optax.sgd(h["lr"]))
    method = scheduled(make, {"lr": Schedule("linear", 1.0, 3.0, 8)}, 4)
    batch = Batch(jnp.arange(12.0).reshape(1, 4, 3), jnp.zeros((1, 4), jnp.int32))
    ends = []
    for each in (method, with_microbatches(method, 2)):
        state = each.init(run_key(0))
        ends.append(each.step(state, jnp.int32(1), batch, run_key(0))[0].params["theta"])
    np.testing.assert_allclose(ends[0], -2.0 * batch.x[0].mean(axis=0))  # lr 2 after 4 images
    np.testing.assert_allclose(ends[1], ends[0])


def by_gradients(make: Callable[[Mapping[str, Any]], optax.GradientTransformation]) -> Any:
    """hyperparameters -> a method whose gradient in theta, of size 3, is its batch's mean x."""

    def loss(params, stats, batch, key, step, train):
        return batch.x @ params["theta"], (stats, {})

    return lambda hypers: game(
        lambda key: ({"theta": jnp.zeros(3)}, {}), [Phase(loss, ("theta",), make(hypers))], None, {}
    )


@pytest.mark.parametrize("name", ["adam", "adam_tensorflow"])
def test_adam_with_scheduled_rate_and_b2_is_written_out(name: str) -> None:
    """m = g for b1 = 0; v and its bias correction take the b2 of the update, as PyTorch's Adam."""
    changes = {
        "lr": Schedule("linear", 0.1, 0, 8),
        "b2": Schedule("linear", 0.9, 0.5, 8),
        "eps": Schedule("linear", 0.1, 0.2, 8),
    }
    make = by_gradients(lambda h: optimizer(Section("config.o", SECTION | {"name": name} | h), 4))
    method = scheduled(make, changes, 2)
    gradients, v = np.array([[1.0, -2.0, 3.0], [2.0, 0.5, -1.0], [1, 1, 1]]), 0.0
    state, expected = method.init(run_key(0)), np.zeros(3)
    for i, g in enumerate(gradients):
        u = 2 * i / 8
        b2, lr, eps = 0.9 - 0.4 * u, 0.1 * (1 - u), 0.1 + 0.1 * u
        v = b2 * v + (1 - b2) * g**2
        correction = np.sqrt(1 - b2 ** (i + 1))
        added = eps / correction if name == "adam_tensorflow" else eps
        expected = expected - lr * g / (np.sqrt(v) / correction + added)
        batch = Batch(jnp.full((1, 2, 3), jnp.float32(g)), jnp.zeros((1, 2), jnp.int32))
        state, _ = method.step(state, jnp.int32(i), batch, run_key(0))
        np.testing.assert_allclose(state.params["theta"], expected, rtol=1e-5)


def test_two_schedules_of_the_rate_are_refused() -> None:
    values = SECTION | {"lr": "linear(0.1, 0, images=8)", "schedule": "cosine"}
    with pytest.raises(BadInput, match=r"config.optimizer.schedule='cosine' must be 'constant'"):
        optimizer(Section("config.optimizer", values), 4)


def test_averages_by_images_halve_as_often_as_they_should() -> None:
    """StyleGAN2's: 0.5^(n / h), h = min(ema_images, rampup x images seen)."""
    values = {
        "batch_size": 8,
        "ema_decay": 0.5,
        "ema_start": 0,
        "ema_images": 64.0,
        "ema_rampup": 0.5,
    }
    section = Section("config", values)
    method = Section("config.method", values)
    decay = average(section, method, ("w",), draws=2).keywords["decay"]  # type: ignore[attr-defined]
    for step in (0, 1, 5, 50):
        half_life = min(64, 0.5 * 16 * step)
        expected = 0.5 ** (16 / half_life) if half_life else 0.0
        np.testing.assert_allclose(decay(jnp.int32(step)), expected, rtol=1e-6)


def test_a_schedule_takes_a_numbers_place_on_the_command_line() -> None:
    config = recipes.load("latentgen:gan")
    keys = {"method.penalty_weight": 10.0, "seed": 0}
    text = "cosine(1, 0.1, images=1e6)"
    assert recipes.exchange_schedules(
        config, {"method.penalty_weight": text, "seed": "1"}, keys
    ) == {"method.penalty_weight"}
    assert config.method.penalty_weight == text
    recipes.exchange_schedules(
        config, {"method.penalty_weight": "3"}, {"method.penalty_weight": text}
    )
    assert config.method.penalty_weight == 3.0
    config.generator_optimizer.lr = 1.0
    configs.experiment(config.to_dict())


def test_a_schedule_is_its_four_numbers() -> None:
    assert parse("cosine(0.05, 0.005, images=20e6)") == Schedule("cosine", 0.05, 0.005, 20e6)
