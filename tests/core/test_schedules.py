"""Hyperparameters that change with the images seen."""

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen import configs
from latentgen.configs import recipes
from latentgen.configs.components import average, optimizer
from latentgen.configs.section import Section
from latentgen.core.errors import BadInput
from latentgen.core.schedules import Schedule, parse, value_at

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


def test_a_line_and_a_number() -> None:
    assert value_at(parse(" linear( 1e0 ,0 , images = 10 )"), 5) == 0.5
    assert value_at(0.25, 5) == 0.25


@pytest.mark.parametrize(
    "text",
    ["cosine(1, 2)", "cosine(1, 2, images=0)", "sine(1, 2, images=3)", "cosine(1, x, images=3)"],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is no schedule"):
        parse(text)


def test_values_out_of_range_are_refused_at_both_ends() -> None:
    for text in ("cosine(0.5, 1.5, images=1)", "cosine(1.5, 0.5, images=1)"):
        with pytest.raises(BadInput, match=r"config.b2=1.5 must be at most 0.99999"):
            Section("config", {"b2": text}).value("b2", low=0.0, high=0.99999)


def test_adam_with_scheduled_rate_and_b2_is_written_out() -> None:
    """m = g for b1 = 0; v and its bias correction take the b2 of the update, as PyTorch's Adam."""
    changes = {"lr": "linear(0.1, 0, images=8)", "b2": "linear(0.9, 0.5, images=8)"}
    tx = optimizer(Section("config.o", SECTION | changes), 4, 2)
    theta, gradients, v = (
        jnp.zeros(3),
        np.array([[1.0, -2.0, 3.0], [2.0, 0.5, -1.0], [1, 1, 1]]),
        0.0,
    )
    state, expected = tx.init(theta), np.zeros(3)
    for i, g in enumerate(gradients):
        b2, lr = 0.9 - 0.4 * 2 * i / 8, 0.1 * (1 - 2 * i / 8)
        v = b2 * v + (1 - b2) * g**2
        expected = expected - lr * g / (np.sqrt(v / (1 - b2 ** (i + 1))) + 1e-8)
        updates, state = tx.update(jnp.asarray(g, jnp.float32), state, theta)
        theta = optax.apply_updates(theta, updates)
        np.testing.assert_allclose(theta, expected, rtol=1e-6)


def test_two_schedules_of_the_rate_are_refused() -> None:
    values = SECTION | {"lr": "linear(0.1, 0, images=8)", "schedule": "cosine"}
    with pytest.raises(BadInput, match=r"config.o.schedule='cosine' must be 'constant'"):
        optimizer(Section("config.o", values), 4, 1)


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
