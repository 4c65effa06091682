import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key, run_key
from latentgen.data.augment import augmentation
from latentgen.data.dataset import Examples
from latentgen.data.pipeline import feed, indices, iterate_split
from latentgen.data.preprocess import PREPROCESS

KEY = run_key(3)


def images(n: int) -> Examples:
    x = np.random.default_rng(0).integers(0, 256, (n, 4, 3, 1), dtype=np.uint8)
    return Examples(x, np.arange(n, dtype=np.int32))


@pytest.mark.parametrize(("n", "batch", "draws"), [(23, 5, 1), (23, 5, 3), (7, 7, 4), (64, 8, 1)])
def test_every_example_once_an_epoch_in_a_new_order(n, batch, draws):
    epochs = 6
    steps = -(-epochs * n // (batch * draws))
    seen = indices(KEY, n, batch, draws)(0, steps).ravel()[: epochs * n].reshape(epochs, n)
    np.testing.assert_array_equal(np.sort(seen, axis=1), np.tile(np.arange(n), (epochs, 1)))
    assert len({tuple(order) for order in seen.tolist()}) == epochs


def test_rows_depend_on_key_and_step_alone():
    whole = indices(KEY, 23, 5, 2)(0, 30)
    assert whole.shape == (30, 2, 5)
    assert whole.dtype == np.int32
    for cuts in ([0, 4, 10, 30], [0, 1, 2, 29, 30]):
        rows = indices(KEY, 23, 5, 2)
        parts = [rows(a, b - a) for a, b in itertools.pairwise(cuts)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    # backwards, past what is remembered, and late in a run, where positions exceed 32 bits
    np.testing.assert_array_equal(
        np.concatenate([rows(s, 1) for s in reversed(range(30))])[::-1], whole
    )
    late = 2**33 // 10
    np.testing.assert_array_equal(rows(late, 3)[1:], rows(late + 1, 2))
    assert (indices(run_key(4), 23, 5, 2)(0, 30) != whole).any()


@pytest.mark.parametrize("n", [1, 2, 11, 2_000, 131_072])  # sorted in no, one and two rounds
def test_the_orders_are_the_stated_permutations(n):
    order = indices(KEY, n, n, 1)(0, 3)[:, 0]
    for epoch in range(3):
        key = jax.random.fold_in(named_key(KEY, "order"), epoch)
        np.testing.assert_array_equal(order[epoch], jax.random.permutation(key, n))


def test_orders_are_uniform():
    n, epochs = 6, 3000
    seen = indices(KEY, n, n, 1)(0, epochs)[:, 0]
    counts = np.stack([np.bincount(seen[:, place], minlength=n) for place in range(n)])
    # each example in each place: a doubly stochastic table, (n - 1)^2 degrees of freedom
    chi2 = ((counts - epochs / n) ** 2 / (epochs / n)).sum() * (n - 1) / n
    assert 1e-3 < stats.chi2.sf(chi2, (n - 1) ** 2) < 1 - 1e-3
    # successive epochs do not resemble each other
    same = (seen[1:] == seen[:-1]).sum()
    assert stats.binomtest(int(same), (epochs - 1) * n, 1 / n).pvalue > 1e-4


def runner(f):
    """(first step, steps) -> the batches as the scan of a chunk makes them."""

    @jax.jit
    def one(rows, step):
        return f.batches(f.resident, rows, KEY, step)

    def run(first, steps):
        rows = f.rows(first, steps)
        each = [one(jax.tree.map(lambda a, s=s: a[s], rows), first + s) for s in range(steps)]
        return jax.tree.map(lambda *a: np.stack(a), *each)

    return run


def mapped(examples: Examples, folder) -> Examples:
    np.save(folder / "x.npy", examples.x)
    return examples._replace(x=np.load(folder / "x.npy", mmap_mode="r"))


def test_streamed_equals_resident(tmp_path):
    examples = images(23)
    preprocess = PREPROCESS["dequantize"]  # tells grey values and noise
    resident = feed(examples, preprocess, 5, 2, KEY)
    expect = runner(resident)
    streamed = [
        feed(examples, preprocess, 5, 2, KEY, stream_above=0),
        feed(mapped(examples, tmp_path), preprocess, 5, 2, KEY, stream_above=0),
    ]
    runs = [runner(f) for f in streamed]
    assert all(f.resident == () for f in streamed)
    assert resident.rows(0, 2).dtype == np.int32
    assert resident.resident.x.dtype == jnp.uint8
    # consecutive, then a jump ahead, a jump back, and on
    for first, steps in ((0, 4), (4, 7), (11, 1), (40, 3), (2, 5), (7, 4)):
        expected = expect(first, steps)
        assert expected.x.shape == (steps, 2, 5, 4, 3, 1)
        assert expected.label.shape == (steps, 2, 5)
        for run in runs:
            got = run(first, steps)
            np.testing.assert_array_equal(got.x, expected.x)
            np.testing.assert_array_equal(got.label, expected.label)


def test_batches_are_the_same_inside_a_scan():
    f = feed(images(23), PREPROCESS["binarize"], 5, 2, KEY)

    def body(carry, xs):
        rows, step = xs
        return carry, f.batches(f.resident, rows, KEY, step)

    scanned = jax.jit(lambda xs: jax.lax.scan(body, 0, xs)[1])((f.rows(3, 4), np.arange(3, 7)))
    jax.tree.map(np.testing.assert_array_equal, scanned, runner(f)(3, 4))


def test_batches_hold_the_examples_of_their_rows():
    examples = images(23)
    f = feed(examples, PREPROCESS["unit"], 5, 2, KEY)
    batch = runner(f)(3, 4)
    i = f.rows(3, 4)
    np.testing.assert_array_equal(batch.label, i)
    np.testing.assert_allclose(batch.x, examples.x[i] / 255.0, atol=1e-6)


def test_noise_is_new_each_step_and_each_draw():
    grey = Examples(np.full((4, 8, 8, 1), 128, np.uint8), np.zeros(4, np.int32))
    x = runner(feed(grey, PREPROCESS["binarize"], 4, 2, KEY))(0, 3).x
    assert len({x[s, d, i].tobytes() for s in range(3) for d in range(2) for i in range(4)}) == 24


def test_points_pass_through():
    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    f = feed(Examples(x, np.arange(9, dtype=np.int32)), PREPROCESS["none"], 4, 1, KEY)
    batch = runner(f)(0, 5)
    np.testing.assert_array_equal(batch.x, x[np.asarray(batch.label)])


@pytest.mark.parametrize("batch_size", [0, -1, 24])
def test_a_batch_size_that_does_not_fit(batch_size):
    with pytest.raises(BadInput, match=f"config.batch_size={batch_size} must be at"):
        feed(images(23), PREPROCESS["unit"], batch_size, 1, KEY)


@pytest.mark.parametrize("batch_size", [5, 23, 40])
def test_passes_cover_a_split_once_in_order(batch_size):
    examples = images(23)
    batches = list(iterate_split(examples, PREPROCESS["unit"], batch_size, KEY))
    assert all(b.x.shape == (batch_size, 4, 3, 1) for b, _ in batches)
    assert all(isinstance(b.x, jax.Array) for b, _ in batches)
    assert all(isinstance(b.label, jax.Array) for b, _ in batches)
    label = np.concatenate([np.asarray(b.label)[:valid] for b, valid in batches])
    np.testing.assert_array_equal(label, np.arange(23))
    x = np.concatenate([np.asarray(b.x)[:valid] for b, valid in batches])
    np.testing.assert_allclose(x, examples.x / 255.0, atol=1e-6)
    last, valid = batches[-1]
    assert (np.asarray(last.label)[valid:] == 22).all()


def test_passes_with_one_key_see_the_same_noise():
    """Whatever the size of the batches: a data set is one thing to every measure."""

    def noisy(key, batch_size=5):
        it = iterate_split(images(23), PREPROCESS["binarize"], batch_size, key)
        return np.concatenate([np.asarray(b.x)[:valid] for b, valid in it])

    for batch_size in (5, 7, 40):
        np.testing.assert_array_equal(noisy(KEY), noisy(KEY, batch_size))
    assert (noisy(KEY) != noisy(run_key(4))).any()


def test_balanced_batches_have_each_class_equally_often():
    label = np.array([0] * 20 + [2] * 5 + [7] * 3, np.int32)
    rows = indices(KEY, len(label), 6, 2, label)
    got = rows(0, 50).reshape(-1)
    assert np.bincount(label[got])[[0, 2, 7]].tolist() == [200, 200, 200]
    for batch in rows(0, 50).reshape(-1, 6):
        assert np.bincount(label[batch], minlength=8)[[0, 2, 7]].tolist() == [2, 2, 2]
    # an epoch of a class holds each of its examples once
    sevens = got[label[got] == 7]
    assert all(sorted(sevens[i : i + 3]) == [25, 26, 27] for i in range(0, 198, 3))
    np.testing.assert_array_equal(rows(7, 3), rows(0, 50)[7:10])


def test_training_batches_are_augmented_by_step_and_seed_and_others_are_not():
    examples = images(23)
    augment = augmentation(("flip",), (0.0, 1.0))
    plain, f = (
        runner(feed(examples, PREPROCESS["unit"], 5, 2, KEY, augment=a)) for a in (None, augment)
    )
    before, after = plain(3, 4).x, f(3, 4).x
    flipped = (after == before[..., ::-1, :]).all((3, 4, 5))
    assert ((after == before).all((3, 4, 5)) | flipped).all()
    assert 5 < flipped.sum() < 35
    assert len({tuple(row) for row in flipped.reshape(-1, 5)}) > 4  # each minibatch its own
    np.testing.assert_array_equal(f(5, 1).x, after[2:3])
    streamed = feed(examples, PREPROCESS["unit"], 5, 2, KEY, stream_above=0, augment=augment)
    np.testing.assert_array_equal(runner(streamed)(3, 4).x, after)


def test_factors_follow_their_examples():
    examples = images(23)._replace(factors=np.arange(46, dtype=np.int32).reshape(23, 2))
    for above in (0, 2**30):
        batch = runner(feed(examples, PREPROCESS["unit"], 5, 2, KEY, stream_above=above))(0, 4)
        np.testing.assert_array_equal(batch.factors[..., 0], 2 * batch.label)
    batch, _ = next(iterate_split(examples, PREPROCESS["unit"], 7, KEY))
    np.testing.assert_array_equal(batch.factors, examples.factors[:7])
