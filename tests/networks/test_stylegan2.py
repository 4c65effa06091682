"""StyleGAN2's networks beyond parity (tests/parity/test_stylegan2.py): noise, styles, precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.networks import stylegan2
from latentgen.networks.stylegan2.discriminator import batch_deviations

KEY, SHAPE = jax.random.key(0), (8, 8, 1)
SMALL = {"channel_base": 32, "channel_max": 4}
W = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)), jnp.float32)


@pytest.fixture(scope="module")
def drawn():
    net = stylegan2.generator(SHAPE, **SMALL)
    params, stats = net.init(KEY, W)
    loud = jax.tree_util.tree_map_with_path(
        lambda path, a: a + 1.0 if path[-1].key == "strength" else a, params
    )
    draw = jax.jit(lambda p, w, k: net.apply(p, stats, w, train=False, key=k)[0])
    return draw, params, loud


def test_noise_is_constant_without_a_key_and_drawn_with_one(drawn):
    draw, silent, loud = drawn
    fixed, one, two = draw(loud, W, None), draw(loud, W, KEY), draw(loud, W, jax.random.key(1))
    np.testing.assert_array_equal(fixed, draw(loud, W, None))
    np.testing.assert_array_equal(one, draw(loud, W, KEY))
    assert not np.allclose(one, two, atol=1e-2)
    assert not np.allclose(one, fixed, atol=1e-2)
    # Its strength starts at 0. Each example has noise of its own.
    np.testing.assert_allclose(draw(silent, W, KEY), draw(silent, W, None), rtol=1e-6)
    same = draw(loud, jnp.tile(W[:1], (3, 1)), KEY)
    assert not np.allclose(same[0], same[1], atol=1e-2)


def test_one_style_is_that_of_every_layer_and_late_layers_leave_the_early_ones(drawn):
    draw, params, _ = drawn
    levels = stylegan2.style_levels(SHAPE)
    assert levels == 4
    each = jnp.tile(W[:, None], (1, levels, 1))
    np.testing.assert_array_equal(draw(params, W, None), draw(params, each, None))
    with pytest.raises(ValueError, match="3 styles for 4 levels"):
        draw(params, each[:, :3], None)


@pytest.mark.long
def test_the_larger_sizes_compute_in_half_precision_and_outputs_are_float32():
    whole = stylegan2.discriminator(outputs=1, **SMALL)
    half = stylegan2.discriminator(outputs=1, half=1, **SMALL)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, *SHAPE)), jnp.float32)
    params, _ = whole.init(KEY, x)
    a, b = (net.apply(params, {}, x, train=True)[0] for net in (whole, half))
    assert b.dtype == jnp.float32
    assert 1e-6 < np.abs(a - b).max() < 0.05
    draw = stylegan2.generator(SHAPE, half=1, **SMALL)
    made, _ = draw.apply(*draw.init(KEY, W), W, train=False)
    assert made.dtype == jnp.float32


def test_deviations_over_groups_by_hand():
    """With 4 examples in groups of 2, examples 0 and 2 form one group, 1 and 3 the other."""
    x = np.random.default_rng(0).normal(size=(4, 2, 2, 4)).astype(np.float32)
    found = np.asarray(batch_deviations(jnp.asarray(x), 2, 2))
    np.testing.assert_array_equal(found[..., :4], x)
    for i, j in ((0, 2), (1, 3)):
        for part in (0, 1):
            channels = x[[i, j]][..., 2 * part : 2 * part + 2]
            expected = np.sqrt(channels.var(axis=0) + 1e-8).mean()
            np.testing.assert_allclose(found[[i, j]][..., 4 + part], expected, rtol=1e-5)
    alone = np.asarray(batch_deviations(jnp.asarray(x[:3]), 2, 1))  # 2 does not divide 3
    np.testing.assert_allclose(alone[..., 4], 1e-4, rtol=1e-5)


def test_w_starts_as_wide_for_any_rate_and_its_average_moves_in_training_alone():
    z = jax.random.normal(KEY, (64, 6))
    for rate in (0.01, 1.0):
        net = stylegan2.mapping(width=32, layers=2, rate=rate, average=0.9)
        params, stats = net.init(KEY, z)
        w, after = net.apply(params, stats, z, train=True)
        assert 0.5 < float((w**2).mean()) < 1.5
        np.testing.assert_allclose(stylegan2.mean_style(after), 0.1 * w.mean(0), rtol=1e-5)
    _, still = net.apply(params, after, z, train=False)
    np.testing.assert_array_equal(stylegan2.mean_style(still), stylegan2.mean_style(after))


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 16, 1), (4, 4, 1), (8,)])
def test_images_that_do_not_fit_are_named(shape):
    with pytest.raises(BadInput, match="does not fit network='stylegan2'"):
        stylegan2.generator(shape, **SMALL)


@pytest.mark.parametrize(
    "options",
    [{"channel_base": 4}, {"channel_max": 0}, {"architecture": "skp"}],
)
def test_options_that_do_not_fit_are_named(options):
    with pytest.raises(BadInput, match=next(iter(options))):
        stylegan2.generator(SHAPE, **options)
    with pytest.raises(BadInput, match="group_features=3"):
        stylegan2.discriminator(outputs=1, group_features=3, **SMALL)
