"""Truncation and mixing on methods whose decoder shows the code or the style."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import scipy.stats

from latentgen.core.errors import BadInput
from latentgen.core.types import Method
from latentgen.evaluation import animations, styles, views
from latentgen.probability.priors import Prior, normal, uniform

KEY = jax.random.key(0)
MEAN = jnp.array([3.0, -1.0])
LEVELS = 3


def made(prior: Prior, **probes) -> Method:
    """A method whose decoder is the identity."""
    common = {
        "codes": lambda state, key, n: prior.sample(key, n),
        "log_prior": lambda state, z: jax.vmap(prior.log_prob)(z),
        "decode": lambda state, z, label=None: z,
    }
    return Method(lambda *_: None, lambda *_: None, lambda *_: {}, lambda *_: None, common | probes)


def styled() -> Method:
    """Styles are MEAN + 2 z, shifted by the class."""

    def style(state, z, label):
        return MEAN[None] + 2 * z + (0 if label is None else label[:, None])

    return made(
        normal(2),
        style=style,
        decode_style=lambda state, w: w,
        mean_style=lambda state: MEAN,
        style_levels=lambda state: LEVELS,
        decode=lambda state, z, label=None: style(state, z, label),
    )


def test_truncated_codes_are_normal_given_that_they_are_inside() -> None:
    method = styles.truncated(made(normal(2)), None, 0.7)
    z = np.asarray(views.prior(method, None, KEY, 5_000)).ravel()
    assert abs(z).max() <= 0.7
    assert scipy.stats.kstest(z, scipy.stats.truncnorm(-0.7, 0.7).cdf).pvalue > 1e-4
    by_index = views.prior_by_index(method, None, KEY, jnp.arange(4))
    np.testing.assert_array_equal(
        by_index[2:3], views.prior_by_index(method, None, KEY, jnp.array([2]))
    )


def test_truncated_styles_are_pulled_to_their_mean() -> None:
    z, label = views.prior(styled(), None, KEY, 4), jnp.arange(4)
    plain, half = (styles.truncated(styled(), None, t).probes for t in (1.0, 0.5))
    np.testing.assert_allclose(
        plain["decode"](None, z, label), MEAN[None] + 2 * z + label[:, None], rtol=1e-6
    )
    np.testing.assert_allclose(half["decode"](None, z), MEAN[None] + z, rtol=1e-6)
    np.testing.assert_array_equal(
        views.prior(styles.truncated(styled(), None, 0.5), None, KEY, 4), z
    )


@pytest.mark.parametrize("value", [0.0, -0.5, 10.1, float("nan"), float("inf")])
def test_truncation_outside_its_interval_is_refused(value: float) -> None:
    with pytest.raises(BadInput, match="must be above 0 and at most 10, for codes"):
        styles.truncated(made(normal(2)), None, value)


def test_styles_are_not_pushed_away_from_their_mean() -> None:
    with pytest.raises(BadInput, match="must be above 0 and at most 1, for styles"):
        styles.truncated(styled(), None, 1.5)


def test_truncation_of_other_priors_is_refused() -> None:
    wide = normal(2)._replace(log_prob=lambda z: normal(2).log_prob(z / 1.1))
    for prior in (uniform(2), wide):
        with pytest.raises(BadInput, match=r"styles or codes of the prior N\(0, I\)"):
            styles.truncated(made(prior), None, 0.5)


def test_a_table_has_the_rows_style_except_in_the_columns_levels() -> None:
    label = jnp.array([0, 1, 2, 3, 4])
    w = styles.mixed(styled(), None, KEY, 2, 3, (1, 1), label).reshape(3, 4, LEVELS, 2)
    own = styled().probes["style"](None, views.prior(styled(), None, KEY, 5), label)
    np.testing.assert_array_equal(w[0, 0], jnp.broadcast_to(MEAN, (LEVELS, 2)))
    for level in range(LEVELS):
        np.testing.assert_array_equal(w[1:, 0, level], own[:2])
        np.testing.assert_array_equal(w[0, 1:, level], own[2:])
        for row in range(2):
            for column in range(3):
                expected = own[2 + column] if level == 1 else own[row]
                np.testing.assert_array_equal(w[1 + row, 1 + column, level], expected)
    decoded = views.decoded(styles.decoding_styles(styled()), None, w.reshape(12, LEVELS, 2))
    np.testing.assert_array_equal(decoded, w.reshape(12, LEVELS, 2))


def test_mixing_that_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match="mixing needs styles"):
        styles.mixed(made(normal(2)), None, KEY, 1, 1, (0, 0))
    with pytest.raises(BadInput, match=r"level 3 is beyond this generator's. Valid: 0 .. 2"):
        styles.mixed(styled(), None, KEY, 1, 1, (0, 3))
    for text in ("", "a", "3-1", "-1", "0-", "1-2-3", "0-²"):
        with pytest.raises(BadInput, match="must be a level or FIRST-LAST"):
            styles.parse_levels("--mix", text)
    assert styles.parse_levels("--mix", "2") == (2, 2)


def test_a_loop_of_normal_codes_goes_along_arcs_and_closes() -> None:
    path = animations.loop(made(normal(3)), None, KEY, stops=4, frames=6)
    z = np.asarray(views.prior(made(normal(3)), None, KEY, 4))
    np.testing.assert_allclose(path[::6], z, atol=1e-5)
    path, unit = path.reshape(4, 6, 3), z / np.linalg.norm(z, axis=1, keepdims=True)
    for i in range(4):  # between unit vectors the angle grows evenly, and the norm stays
        a, b = jnp.asarray(unit[i]), jnp.asarray(unit[(i + 1) % 4])
        arc = animations.spherical(a[None], b[None], jnp.linspace(0, 1, 5))[0]
        np.testing.assert_allclose(np.linalg.norm(arc, axis=1), 1, atol=1e-5)
        angles = np.arccos(np.clip(np.asarray(arc) @ unit[i], -1, 1))
        np.testing.assert_allclose(np.diff(angles), angles[-1] / 4, atol=2e-3)
    same = animations.spherical(jnp.array([[1.0, 0]]), jnp.array([[-2.0, 0]]), jnp.array([0.5]))
    np.testing.assert_allclose(same[0], [[-0.5, 0]], atol=1e-6)


def test_a_loop_of_styles_or_of_another_prior_is_straight() -> None:
    for method in (styled(), made(uniform(2))):
        path = animations.loop(method, None, KEY, stops=3, frames=4).reshape(3, 4, 2)
        steps = np.diff(np.concatenate([path, np.roll(path, -1, axis=0)[:, :1]], axis=1), axis=1)
        np.testing.assert_allclose(steps, steps[:, :1].repeat(4, axis=1), atol=1e-5)
    pulled = animations.loop(styles.truncated(styled(), None, 0.5), None, KEY, 3, 4)
    whole = animations.loop(styled(), None, KEY, 3, 4)
    np.testing.assert_allclose(pulled, (MEAN[None] + whole) / 2, atol=1e-5)


@pytest.mark.parametrize(("kind", "channels"), [("GIF", 1), ("GIF", 3), ("WEBP", 3)])
def test_a_moving_picture_has_its_frames_and_repeats(kind: str, channels: int) -> None:
    levels = np.linspace(0, 255, 5).astype(np.uint8)
    frames = [np.full((8, 8, channels), level, np.uint8) for level in levels]
    content = animations.encoded(frames, 20, kind)
    assert content == animations.encoded(frames, 20, kind)
    with PIL.Image.open(io.BytesIO(content)) as picture:
        assert (picture.n_frames, picture.info["loop"]) == (5, 0)
        for i, level in enumerate(levels):
            picture.seek(i)
            picture.load()
            assert picture.info["duration"] == 50
            assert abs(np.asarray(picture.convert("RGB")).astype(int) - level).max() <= 4
