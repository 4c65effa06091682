"""Augmentations of what the discriminator sees, against closed forms and NumPy.

`tests/parity/test_ada.py` and `test_diffaugment.py` hold them to their authors' code.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from latentgen.core.errors import BadInput
from latentgen.core.types import Net
from latentgen.objectives import augment
from latentgen.objectives.augment import ada, diffaugment
from latentgen.objectives.augment.control import Control, init, update
from latentgen.objectives.augment.warp import warp

KEY = jax.random.key(0)
EVERYTHING = "ada:bgc,filter,noise,cutout"


def images(n: int, height: int, width: int, channels: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(7), (n, height, width, channels))


def column(*values: float) -> jax.Array:
    return jnp.array(values, jnp.float32)[:, None]


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 9, 4, 1)])
def test_at_probability_0_images_stay(shape: tuple[int, ...]) -> None:
    x = images(*shape)
    out = jax.jit(augment.transform(EVERYTHING, (0.0, 1.0)))(x, KEY, 0.0)
    np.testing.assert_allclose(out, x, atol=1e-6)


@pytest.mark.parametrize("name", ["ada:color,cutout,noise", "diffaugment"])
def test_another_range_is_another_unit(name: str) -> None:
    x = images(3, 8, 8, 3)
    unit, signed = (augment.transform(name, (low, 1.0)) for low in (0.0, -1.0))
    np.testing.assert_allclose(
        2 * unit(x, KEY, 1.0) - 1, signed(2 * x - 1, KEY, 1.0), rtol=1e-5, atol=1e-5
    )


def test_a_shift_by_whole_pixels_moves_them_and_reflects_the_border() -> None:
    x = images(1, 8, 6, 2)
    values = {"xint": jnp.array([[1 / 6, -2 / 8]])}  # right by 1, up by 2
    wide = np.pad(np.asarray(x), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    np.testing.assert_allclose(ada.transform(x, values), wide[:, 4:12, 1:7], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "turned"),
    [
        ({"xflip": column(1.0)}, lambda x: x[:, :, ::-1]),
        ({"rotate90": column(1.0)}, lambda x: np.rot90(x, 1, (1, 2))),
        ({"rotate90": column(2.0)}, lambda x: np.rot90(x, 2, (1, 2))),
        ({"rotate": column(np.pi / 2)}, lambda x: np.rot90(x, 1, (1, 2))),
    ],
)
def test_flips_and_turns_of_a_smooth_image(values: dict, turned) -> None:
    i, j = np.mgrid[:16, :16] / 16
    x = np.stack([np.sin(3 * i + j), np.cos(2 * j) * i], axis=-1)[None].astype(np.float32)
    inner = (slice(None), slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(
        ada.transform(jnp.asarray(x), values)[inner], turned(x)[inner], atol=0.05
    )


def test_twice_as_large_shows_the_middle() -> None:
    i = np.broadcast_to(np.arange(16.0)[None, :, None, None], (1, 16, 16, 1)).astype(np.float32)
    out = ada.transform(jnp.asarray(i), {"scale": column(2.0)})
    np.testing.assert_allclose(out[0, 3:-3, 8, 0], 7.5 + (np.arange(3, 13) - 7.5) / 2, atol=0.03)


def test_colours_in_closed_form() -> None:
    x = images(1, 2, 2, 3) - 0.5
    mean = x.mean(axis=-1, keepdims=True)
    expected = {
        "brightness": (0.3, x + 0.3),
        "contrast": (1.5, 1.5 * x),
        "lumaflip": (1.0, x - 2 * mean),
        "hue": (2 * np.pi / 3, jnp.roll(x, 1, axis=-1)),  # red becomes green
        "saturation": (0.0, jnp.broadcast_to(mean, x.shape)),
    }
    for name, (value, y) in expected.items():
        np.testing.assert_allclose(ada.transform(x, {name: column(value)}), y, atol=1e-6)


def test_colours_of_grey_images_are_those_of_the_same_in_three_channels() -> None:
    x = images(1, 3, 3, 1)
    values = {name: column(v) for name, v in (("brightness", 0.2), ("contrast", 0.7))}
    values["lumaflip"] = column(1.0)
    grey, rgb = ada.transform(x, values), ada.transform(x.repeat(3, axis=-1), values)
    np.testing.assert_allclose(grey.repeat(3, axis=-1), rgb, atol=1e-6)


def test_cutout_hides_a_quarter_and_none_at_its_neutral_value() -> None:
    x = jnp.ones((2, 8, 12, 1))
    out = ada.transform(x, {"cutout": jnp.array([[0.5, 0.25], [-1.0, -1.0]])})
    assert (out[0, :4, 3:9] == 0).all()
    assert out[0].sum() == 8 * 12 * 3 / 4
    assert (out[1] == 1).all()


def test_gains_keep_the_power_of_natural_images() -> None:
    gains = ada.band_gains(jnp.array([[2.0, 1.0, 0.5, 3.0]]))
    each = np.eye(4) * (np.array([2.0, 1.0, 0.5, 3.0]) - 1) + 1
    power = (np.array([10, 1, 1, 1]) / 13 * each**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(gains[0], (each / np.sqrt(power)).prod(axis=0), rtol=1e-6)


def test_each_operation_is_as_frequent_as_its_strength_and_p_say() -> None:
    strengths = {"brightness": 0.5, "rotate": 1.0, "rotate_after": 1.0, "cutout": 1.0}
    n, p = 20_000, 0.3
    values = ada.values(ada.draw(KEY, n, strengths), p, strengths)
    changed = {name: np.asarray(values[name] != ada.OPERATIONS[name].neutral) for name in values}
    shares = {name: flags.any(axis=1).mean() for name, flags in changed.items()}
    shares["either rotation"] = (changed["rotate"] | changed["rotate_after"]).mean()
    expected = {"brightness": 0.15, "cutout": 0.3, "either rotation": 0.3}
    for name, share in expected.items():
        assert abs(shares[name] - share) < 4 * np.sqrt(share / n), name


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", [pytest.param(EVERYTHING, marks=pytest.mark.long), "diffaugment"])
def test_gradients_of_both_orders_are_those_of_finite_differences(name: str) -> None:
    x = images(2, 6, 5, 3).astype(jnp.float64)
    weight = jax.random.normal(KEY, x.shape, jnp.float64)
    transform = augment.transform(name, (0.0, 1.0))

    def logit(x):
        return (jnp.tanh(weight * transform(x, KEY, 0.9)) ** 2).sum()

    check_grads(jax.jit(logit), (x,), order=2, modes=("rev",), rtol=1e-4)


def test_warp_is_the_same_for_each_image_whatever_the_batch() -> None:
    x = images(3, 6, 6, 1)
    values = {"rotate": column(0.3, 1.0, 2.0), "scale": column(1.0, 0.4, 2.0)}
    together = ada.transform(x, values)
    alone = ada.transform(x[1:2], {name: value[1:2] for name, value in values.items()})
    np.testing.assert_allclose(together[1:2], alone, atol=1e-6)
    assert warp(x, jnp.broadcast_to(jnp.eye(3), (3, 3, 3))).shape == x.shape


def test_diffaugment_shifts_by_an_eighth_and_hides_a_half() -> None:
    draws = diffaugment.draw(KEY, 2_000, (16, 9), ("translation", "cutout"))
    shift, center = (np.asarray(draws[name]) for name in ("translation", "cutout"))
    assert [np.unique(shift[:, axis]).tolist() for axis in (0, 1)] == [
        [-2, -1, 0, 1, 2],
        [-1, 0, 1],
    ]
    assert (center.min(axis=0).tolist(), center.max(axis=0).tolist()) == ([0, 0], [16, 8])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adda", ["'adda'", "did you mean 'ada'"]),
        ("ada:geo", ["'geo'", "did you mean 'geom'"]),
        ("ada:bgc,color", ["'color'", "once more"]),
        ("diffaugment:cutout,cutout", ["'cutout'", "twice"]),
        ("diffaugment:hue", ["'hue'", "translation"]),
    ],
)
def test_unknown_names_are_refused(name: str, words: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        augment.transform(name, (0.0, 1.0))
    assert all(word in str(error.value) for word in ["config.method.augment", *words])


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'ada' needs images in a bounded range"):
        augment.transform("ada", None)
    with pytest.raises(BadInput, match=r"needs images, not examples of shape \(2,\)"):
        augment.transform("ada", (0.0, 1.0))(jnp.zeros((3, 2)), KEY, 0.5)
    with pytest.raises(BadInput, match="1 or 3 channels, not 2"):
        augment.transform("ada:color", (0.0, 1.0))(images(1, 4, 4, 2), KEY, 0.5)


def test_p_moves_once_in_an_interval_by_the_sign_of_its_mean() -> None:
    step = partial(update, Control(0.6, 2, 100.0), images=5)
    state = init(0.05)
    for logits, p in (
        ([1.0, 2.0], 0.05),  # mean sign 1
        ([3.0, -1.0], 0.0),  # 0: their mean 0.5 is below 0.6, so p falls by 10 / 100
        ([1.0, 1.0], 0.0),
        ([1.0, 1.0], 0.1),
        ([0.0, 0.0], 0.1),
        ([0.0, 0.0], 0.0),
    ):
        before = state
        state = step(state, logits=jnp.array(logits))
        if before["updates"] == 1:
            np.testing.assert_allclose(state["p"], p, atol=1e-7)
        else:
            assert state["p"] == before["p"]


def test_p_settles_where_a_discriminator_overfits_as_much_as_the_target() -> None:
    """A simulated one whose r falls with p: r = 1 - p / 2 is the target 0.6 at p = 0.8."""
    control, batch = Control(0.6, 4, 4_000.0), 16

    def turn(state, key):
        sure = jax.random.uniform(key, (batch,)) < (1 + 1 - state["p"] / 2) / 2
        state = update(control, state, jnp.where(sure, 1.0, -1.0), batch)
        return state, state["p"]

    _, p = jax.lax.scan(turn, init(0.0), jax.random.split(KEY, 6_000))
    assert (jnp.diff(p[:150]) >= 0).mean() > 0.95
    assert abs(p[3_000:].mean() - 0.8) < 0.05


def test_an_augmented_network_sees_augmented_images_in_training_alone() -> None:
    """`ada:blit` at p = 1 moves pixels, so that a weighted sum over them changes."""
    weight = jnp.arange(64.0).reshape(1, 8, 8, 1)

    def apply(params, stats, x, *, train, key=None):
        return jnp.stack([x.sum((1, 2, 3)), (x * weight).sum((1, 2, 3))], axis=1), stats

    plain = Net(lambda key, x: ({}, {}), apply)
    seen = augment.Augmentation(augment.transform("ada:blit", (0.0, 1.0)), 1.0)
    net = augment.augmented(plain, seen)
    x = images(5, 8, 8, 1)
    expected, _ = plain.apply({}, {}, x, train=False)
    out, _ = net.apply({}, {}, x, train=False, key=KEY)
    np.testing.assert_array_equal(out, expected)
    moved, _ = net.apply({}, {}, x, train=True, key=KEY)
    assert (jnp.abs(moved - expected)[:, 1] > 1).all()
    again, _ = net.apply({}, {}, x, train=True, key=KEY)
    np.testing.assert_array_equal(again, moved)
    assert augment.augmented(plain, None) is plain
