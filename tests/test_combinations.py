"""Any objective with any estimator, prior, posterior and likelihood that fit; the rest by name."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from test_config import config_of

from latentgen import configs
from latentgen.configs.vae import LEARNED_PRIORS
from latentgen.core.errors import BadInput
from latentgen.core.keys import run_key
from latentgen.core.types import Batch
from latentgen.objectives.bounds import BOUNDS
from latentgen.objectives.estimators import ESTIMATORS
from latentgen.probability.posteriors import POSTERIORS
from latentgen.probability.priors import PRIORS

SHAPE = (4, 4, 1)
LIKELIHOODS = (
    *("bernoulli", "normal", "normal_learned", "normal_per_pixel"),
    *("discretized_logistic", "categorical"),
)
CHOICES = {
    "bound": tuple(BOUNDS),
    "estimator": tuple(ESTIMATORS),
    "kl": ("closed", "sampled"),
    "prior": (*PRIORS, *LEARNED_PRIORS),
    "posterior": ("flow", *POSTERIORS),
    "second_code_dim": (0, 2),
    "classes": (0, 3),
    "likelihood": LIKELIHOODS,
}


def small(**method: Any) -> dict[str, Any]:
    config = config_of("vae")
    for net in ("encoder", "decoder", "code_network"):
        config[net]["hidden"] = (5,)
    config["method"] |= {"code_dim": 3, "components": 2, "samples": 4, "group": 2} | method
    return config


def combinations() -> Iterator[dict[str, Any]]:
    """Yield all combinations, with one likelihood each: they interact in the network only."""
    *rest, likelihoods = CHOICES.values()
    for i, values in enumerate(itertools.product(*rest)):
        yield dict(zip(CHOICES, (*values, likelihoods[i % len(likelihoods)]), strict=True))


VAMPS = ("vamp", "vamp_clipped")


def fits(c: dict[str, Any]) -> bool:
    """The rules of the README's table, written independently."""
    closed = c["kl"] == "closed"
    return (
        (c["estimator"] != "stl" or c["bound"] == "elbo")
        and (c["prior"] != "uniform" or (c["posterior"] == "squashed" and not c["second_code_dim"]))
        and (c["prior"] not in VAMPS or not (c["classes"] or c["second_code_dim"]))
        and (c["prior"] not in VAMPS or c["posterior"] != "flow")
        and (
            c["posterior"] != "squashed"
            or (c["prior"] in ("uniform", *VAMPS) and c["estimator"] == "pathwise")
        )
        and (not c["second_code_dim"] or c["posterior"] == "diagonal")
        and (
            not closed
            or (
                c["bound"] == "elbo"
                and c["estimator"] == "pathwise"
                and c["prior"] == "normal"
                and c["posterior"] in ("diagonal", "diagonal_softplus", "full")
                and not c["second_code_dim"]
            )
        )
    )


def test_every_combination_is_made_or_refused_by_name() -> None:
    made = 0
    for choice in combinations():
        if fits(choice):
            configs.experiment(small(**choice))
            made += 1
        else:
            with pytest.raises(BadInput, match=r"config\.method\.\w+=.*(Valid|must)"):
                configs.experiment(small(**choice))
    assert made > 150


def some() -> list[dict[str, Any]]:
    """Every fifth of those that fit."""
    return [choice for choice in combinations() if fits(choice)][::5]


def test_some_have_every_value() -> None:
    for name, values in CHOICES.items():
        assert {choice[name] for choice in some()} == set(values)


@pytest.mark.parametrize("choice", some(), ids=lambda c: "-".join(map(str, c.values())))
@pytest.mark.quick(3)
def test_what_fits_has_a_step_and_a_sample(choice: dict[str, Any]) -> None:
    method = configs.experiment(small(**choice)).plan.wire(SHAPE)
    state = jax.eval_shape(method.init, run_key(0))
    batch = Batch(jnp.zeros((1, 6, *SHAPE)), jnp.zeros((1, 6), jnp.int32))
    after, metrics = jax.eval_shape(
        lambda s, b: method.step(s, jnp.int32(0), b, run_key(0)), state, batch
    )
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert all(value.shape == () for value in metrics.values())
    assert jax.eval_shape(lambda s: method.sample(s, run_key(0), 5), state).shape == (5, *SHAPE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"estimator": "stl", "bound": "iwae"}, ["stl", "biased", "dreg"]),
        ({"kl": "closed", "prior": "mixture"}, ["config.method.kl='closed'", "'mixture'"]),
        (
            {"free_nats": 0.5, "kl": "sampled", "bound": "iwae"},
            ["free_nats=0.5", "bound='iwae'", "elbo"],
        ),
        ({"posterior": "squashed"}, ["'squashed'", "'normal'", "uniform"]),
        ({"prior": "vamp", "posterior": "flow", "kl": "sampled"}, ["'vamp'", "'flow'"]),
        ({"bound": "miwae", "kl": "sampled", "group": 3}, ["group=3", "samples=4"]),
        ({"likelihood": "normal_learned", "std": 0.01}, ["std=0.01", "std_floor=0.01"]),
        ({"posterior": "flw"}, ["'flw'", "'flow'"]),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        configs.experiment(small(**changes))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("likelihood", "preprocess", "valid"),
    [
        ("bernoulli", "signed", "binarize, dequantize, threshold, unit"),
        ("discretized_logistic", "threshold", "signed, unit"),
        ("categorical", "dequantize", "signed, unit"),
    ],
)
def test_a_likelihood_refuses_data_that_it_gives_no_probability(
    likelihood: str, preprocess: str, valid: str
) -> None:
    config = small(likelihood=likelihood)
    config["data"]["preprocess"] = preprocess
    with pytest.raises(BadInput, match=valid):
        configs.experiment(config)


def test_dreg_refuses_codes_that_see_each_other() -> None:
    config = small(bound="iwae", kl="sampled", estimator="dreg")
    config["decoder"]["norm"] = "batch"
    with pytest.raises(BadInput, match=r"'dreg'.*norm='batch'.*layer"):
        configs.experiment(config)
