"""Floors, references and standard errors of measures of samples, and small sample sizes."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from untrained import OPTIONS, frechet, subject

from latentgen.core.errors import BadInput
from latentgen.evaluation.measures import MEASURES, samples
from latentgen.evaluation.measures.subject import Subject


@pytest.fixture(scope="module")
def one() -> Subject:
    return subject("gan", "nonsaturating")


@pytest.mark.parametrize(
    ("split", "images", "number", "expected"),
    [
        ("test", None, None, ("train", 0, 200)),
        ("train", 100, None, ("train", 100, 200)),
        ("train", None, 150, ("validation", 0, 150)),
        ("train", 1_300, 150, ("validation", 0, 150)),
        ("train", 1_390, 500, ("validation", 0, 200)),
    ],
)
def test_what_stands_for_samples_is_on_no_other_side(one, split, images, number, expected) -> None:
    options = OPTIONS._replace(images=images, samples=number)
    assert samples.reference_of(one._replace(split=split), options) == expected


def test_the_floor_on_the_training_split_is_of_other_examples(one: Subject) -> None:
    """A regression test: these were the same images, at distance 0."""
    options = OPTIONS._replace(images=300)
    result = samples.frechet(one._replace(split="train", memory={}), options)
    x = one.run.dataset.splits["train"].x[:600] / np.float32(255)
    real, other = (samples.shown_by(one, options).features(part) for part in (x[:300], x[300:]))
    np.testing.assert_allclose(result.values["floor"], frechet(real, other), rtol=1e-5)
    assert result.values["floor"] > 0.1
    assert result.protocol["floor_of"] == "300 training examples"


def test_without_other_examples_there_is_no_floor(one: Subject) -> None:
    splits = {"train": one.run.dataset.splits["test"]}
    run = one.run._replace(dataset=one.run.dataset._replace(splits=splits))
    alone = one._replace(run=run, split="train", memory={})
    result = samples.frechet(alone, OPTIONS)
    assert "floor" not in result.values
    assert result.protocol["floor_of"] == samples.MISSING


def test_where_more_is_better_it_is_a_reference(one: Subject) -> None:
    options = OPTIONS._replace(images=60)
    for measure, name in ((samples.prdc, "precision"), (samples.score, "inception_score")):
        found = measure(one, options)
        assert f"reference_{name}" in found.values
        assert not [key for key in (*found.values, *found.protocol) if "floor" in key]


class Two:
    """Normal features of both sides in place of a network's."""

    def __init__(self, one: Subject, n: int, d: int, seed: int):
        rng = np.random.default_rng(seed)
        self.real, self.synthetic = rng.normal(size=(n, d)), 0.3 + rng.normal(size=(n, d))
        reference = rng.normal(size=(n, d))
        names = {"real": self.real, "reference": reference, "synthetic": self.synthetic}
        memory = {
            ("features", which, n, *(() if which == "synthetic" else (n,))): x.astype(np.float32)
            for which, x in names.items()
        }
        self.subject = one._replace(memory=memory)
        self.options = OPTIONS._replace(images=n, samples=n, jackknife=10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frechet", "frechet_distance"),
        pytest.param("kernel", "kernel_distance", marks=pytest.mark.long),
        pytest.param("prdc", "precision", marks=pytest.mark.long),
    ],
)
def test_standard_errors_are_how_values_scatter(one: Subject, name: str, value: str) -> None:
    """Compare the scatter over 30 pairs of sets of 60 with the mean of their standard errors."""
    found = []
    for seed in range(30):
        two = Two(one, 60, 2, seed)
        values = MEASURES[name].take(two.subject, two.options).values
        found.append((values[value], values[f"{value}_standard_error"]))
    values, errors = np.array(found).T
    assert 0.6 < errors.mean() / values.std(ddof=1) < 1.7
    assert (
        MEASURES[name].take(two.subject, two.options).values[f"{value}_standard_error"]
        == errors[-1]
    )


def test_the_jackknife_of_moments_is_that_of_the_examples(one: Subject) -> None:
    """Compare the distance of 60 examples, with and without the jackknife, with NumPy's."""
    two = Two(one, 60, 3, 0)
    found = samples.frechet(two.subject, two.options).values
    np.testing.assert_allclose(
        found["frechet_distance"],
        frechet(two.real.astype(np.float32), two.synthetic.astype(np.float32)),
        rtol=1e-6,
    )
    plain = samples.frechet(two.subject, two.options._replace(jackknife=0)).values
    np.testing.assert_allclose(plain["frechet_distance"], found["frechet_distance"], rtol=1e-10)
    assert "frechet_distance_standard_error" not in plain


def test_few_examples_have_the_distance_and_the_error_of_their_moments(one: Subject) -> None:
    """30 of 40 features: by rows, what moments of the same groups give, a group left out in turn.

    33 in 10 groups: three examples are in none.
    """
    for n in (30, 33):
        two = Two(one, n, 40, 0)
        few = samples.frechet(two.subject, two.options).values
        blocks = lambda which: samples.feature_blocks(two.subject, two.options, which)  # noqa: B023, E731
        sides = {
            which: samples._summarized(two.options, which, 10, blocks(which))
            for which in ("real", "synthetic", "reference")
        }
        with jax.enable_x64(True):
            compute = lambda keep: samples._frechet(sides["real"], sides["synthetic"], keep)  # noqa: B023, E731
            expected = samples._with_error("frechet_distance", compute, 10)
            every = jnp.ones(11)
            expected["floor"] = float(samples._frechet(sides["real"], sides["reference"], every))
        assert expected.keys() == few.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(few[name], value, rtol=1e-7)


def test_the_kernel_distance_of_subsets_is_offered_as_published(one: Subject) -> None:
    two = Two(one, 60, 2, 0)
    options = two.options._replace(jackknife=0, subsets=40, subset_size=30)
    found = samples.kernel(two.subject, options)
    assert found.protocol["subsets"] == 40
    error = found.values["subsets_standard_deviation"] / np.sqrt(40)
    assert abs(found.values["subsets_mean"] - found.values["kernel_distance"]) < 5 * error
    with pytest.raises(BadInput, match="--subset_size=90 must be at most 60"):
        samples.check_kernel(two.subject, options._replace(subset_size=90))


@pytest.mark.parametrize(
    ("name", "images", "number", "said"),
    [
        ("frechet", 1, None, "--images=1 must be at least 2"),
        ("prdc", 5, None, "--images=5 must be at least 6"),
        ("prdc", 20, 3, "--samples=3 must be at least 4"),
        ("kernel", 20, 1, "--samples=1 must be at least 2"),
    ],
)
def test_too_few_are_named_by_the_users_flag(one: Subject, name, images, number, said) -> None:
    with pytest.raises(BadInput, match=said):
        MEASURES[name].check(one, OPTIONS._replace(images=images, samples=number))


def test_fewer_examples_than_features_are_warned_of(one: Subject) -> None:
    few = samples.frechet(one, OPTIONS._replace(images=40))
    assert few.warning is not None
    assert "40 examples are fewer than the 65" in few.warning
    assert samples.frechet(one, OPTIONS._replace(images=100)).warning is None


def test_moments_and_scores_hold_a_block_whatever_the_number(one: Subject) -> None:
    """No array of all the samples is kept unless another measure needs it."""
    lone = one._replace(keep=False, memory={})
    peaks = []
    for number in (1_000, 5_000):
        options = OPTIONS._replace(samples=number)
        samples.frechet(lone, options)
        tracemalloc.start()
        samples.frechet(lone, options)
        samples.score(lone, options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert {name for name, *_ in lone.memory} == {"extractor"}
    assert peaks[1] < 1.5 * peaks[0]


def test_samples_do_not_depend_on_what_is_kept(one: Subject) -> None:
    lone, both = one._replace(keep=False, memory={}), one._replace(memory={})
    options = OPTIONS._replace(samples=120)
    assert samples.frechet(lone, options).values == samples.frechet(both, options).values
    with jax.enable_x64(False):
        x = samples.synthetic(both, options, 120)
    assert x.dtype == jnp.float32
