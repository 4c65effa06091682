import numpy as np
import pytest

from latentgen.data import sources, toys


@pytest.mark.parametrize(("name", "count"), [("ring", 8), ("grid", 25)])
def test_mixtures_have_the_stated_modes(name, count):
    x, label = toys.points(name)
    means, sd = toys.MODES[name]
    assert means.shape == (count, 2)
    n = np.bincount(label, minlength=count)
    # counts: multinomial with equal weights; residuals: normal with this sd
    assert np.abs(n - len(x) / count).max() < 5 * np.sqrt(len(x) / count)
    e = (x - means[label]) / sd
    assert np.abs(e.mean(axis=0)).max() < 5 / np.sqrt(len(x))
    np.testing.assert_allclose(np.cov(e.T), np.eye(2), atol=5 * np.sqrt(2 / len(x)))
    distances = np.linalg.norm(x[:2000, None] - means[None], axis=-1)
    assert (distances.argmin(axis=1) == label[:2000]).all()


def test_modes_are_where_the_papers_have_them():
    np.testing.assert_allclose(np.linalg.norm(toys.MODES["ring"].means, axis=1), 1)
    expected = {(float(a), float(b)) for a in range(-4, 5, 2) for b in range(-4, 5, 2)}
    assert set(map(tuple, toys.MODES["grid"].means.tolist())) == expected
    assert toys.MODES["ring"].sd == 0.01
    assert toys.MODES["grid"].sd == 0.05


def test_swiss_roll_winds_as_its_equation():
    x, _ = toys.points("swiss_roll")
    radius = 10 * np.linalg.norm(x, axis=1)
    # radius = t up to the noise of 10 * 0.05, and the angle is t modulo a turn
    assert radius.min() > 1.5 * np.pi - 3
    assert radius.max() < 4.5 * np.pi + 3
    assert abs(radius.mean() - 3 * np.pi) < 0.05
    turn = np.angle(np.exp(1j * (np.arctan2(x[:, 1], x[:, 0]) - radius)))
    assert np.abs(turn).mean() < 0.6


def test_two_moons_are_half_circles():
    x, label = toys.points("two_moons")
    assert abs(label.mean() - 0.5) < 0.01
    for moon, sign in ((0, 1), (1, -1)):
        y = sign * x[label == moon] + [0.5, 0.25]
        radius = np.linalg.norm(y, axis=1)
        assert abs(radius.mean() - 1) < 0.005
        assert abs(radius.std() - 0.05) < 0.005
        # the mean of (cos t, sin t) over half a circle
        np.testing.assert_allclose(y.mean(axis=0), [0, 2 / np.pi], atol=0.01)


@pytest.mark.parametrize("name", sorted(toys.TOYS))
def test_splits(name):
    dataset = sources.load(name)
    sizes = {s: e.x.shape for s, e in dataset.splits.items()}
    assert sizes == {"train": (100_000, 2), "validation": (10_000, 2), "test": (10_000, 2)}
    whole, _ = toys.points(name)
    for examples in dataset.splits.values():
        assert examples.x.dtype == np.float32
        assert examples.label.dtype == np.int32
        # each split looks like the whole
        np.testing.assert_allclose(examples.x.mean(axis=0), whole.mean(axis=0), atol=0.15)
    assert np.abs(whole).max() < 5
