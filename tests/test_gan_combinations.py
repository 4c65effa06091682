"""Any game with any penalty, norm, network, prior and condition that fit; the rest by name."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_config import config_of

from latentgen import configs
from latentgen.configs.components import optimizer
from latentgen.configs.section import Section
from latentgen.core.errors import BadInput
from latentgen.core.keys import run_key
from latentgen.core.types import Batch
from latentgen.networks.norms import NORMS
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.penalties import PENALTIES
from latentgen.probability.priors import PRIORS

SHAPE = (4, 4, 1)
CHOICES: dict[str, tuple[Any, ...]] = {
    "loss": tuple(LOSSES),
    "penalty": ("none", *PENALTIES),
    "norm": tuple(NORMS),
    "told": (
        *((0, "concat"), (3, "concat"), (3, "projection"), (0, "projection")),
        (3, "auxiliary"),
    ),
    "packing": (1, 2),
}
TURNS = {
    "prior": ("mixture", *PRIORS),
    "network": ("mlp", "conv", "resnet"),
    "weight_clip": (0.0, 0.01),
}
"""What meets the others in the network only: these take turns."""


def combinations() -> Iterator[dict[str, Any]]:
    for i, values in enumerate(itertools.product(*CHOICES.values())):
        turns = {name: each[i % len(each)] for name, each in TURNS.items()}
        yield dict(zip(CHOICES, values, strict=True)) | turns


def config(choice: dict[str, Any]) -> dict[str, Any]:
    found = config_of("gan")
    classes, condition = choice["told"]
    net = {"network": choice["network"], "hidden": (5,), "channels": (3, 4)}
    found["generator"] |= net
    found["discriminator"] |= net | {"norm": choice["norm"]}
    names = ("loss", "penalty", "packing", "prior", "weight_clip")
    found["method"] |= {name: choice[name] for name in names}
    found["method"] |= {"classes": classes, "condition": condition, "code_dim": 3, "components": 2}
    return found


def fits(choice: dict[str, Any]) -> bool:
    """The rules, said once more: see the README's table."""
    classes, condition = choice["told"]
    return (choice["penalty"] == "none" or choice["norm"] != "batch") and (
        condition == "concat" or (classes > 0 and choice["packing"] == 1)
    )


def test_every_combination_is_made_or_refused_by_name() -> None:
    made = 0
    for choice in combinations():
        if fits(choice):
            configs.experiment(config(choice))
            made += 1
        else:
            with pytest.raises(BadInput, match=r"config\.method\.\w+='\w+'.*(Valid|needs)"):
                configs.experiment(config(choice))
    assert made == 6 * (4 + 6 * 3) * (2 * 2 + 2)


def some() -> list[dict[str, Any]]:
    """Every 29th of those that fit."""
    return [choice for choice in combinations() if fits(choice)][::29]


def test_some_have_every_value_that_fits() -> None:
    for name, values in (CHOICES | TURNS).items():
        assert {choice[name] for choice in some()} == set(values) - {(0, "projection")}


@pytest.mark.parametrize("choice", some(), ids=lambda c: "-".join(map(str, c.values())))
@pytest.mark.quick(3)
def test_what_fits_has_a_step_and_a_sample(choice: dict[str, Any]) -> None:
    method = configs.experiment(config(choice)).plan.wire(SHAPE)
    state = jax.eval_shape(method.init, run_key(0))
    batch = Batch(jnp.zeros((1, 6, *SHAPE)), jnp.zeros((1, 6), jnp.int32))
    after, metrics = jax.eval_shape(
        lambda s, b: method.step(s, jnp.int32(0), b, run_key(0)), state, batch
    )
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert all(value.shape == () for value in metrics.values())
    assert ("penalty" in metrics) == (choice["penalty"] != "none")
    assert jax.eval_shape(lambda s: method.sample(s, run_key(0), 5), state).shape == (5, *SHAPE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "wgan"}, ["config.method.loss='wgan'", "wasserstein"]),
        ({"penalty": "gp"}, ["config.method.penalty='gp'", "wgan_gp"]),
        ({"packing": 3}, ["config.batch_size=64", "packing=3"]),
        ({"weight_clip": -1.0}, ["weight_clip=-1.0", "at least 0"]),
        ({"penalty_weight": -1.0}, ["penalty_weight=-1.0"]),
        ({"condition": "projection"}, ["'projection'", "classes"]),
        ({"condition": "auxiliary"}, ["'auxiliary'", "classes"]),
        ({"condition": "auxiliary", "classes": 3, "packing": 2}, ["'auxiliary'", "packing=1"]),
        ({"continuous": 1, "packing": 2}, ["packing=2", "config.method.continuous"]),
        ({"categories": (10, 1)}, ["config.method.categories=(10, 1)", "at least 2"]),
        ({"categories": (30,), "continuous": 2}, ["code_dim=32", "above 32", "noise"]),
        ({"auxiliary_weight": -1.0}, ["auxiliary_weight=-1.0", "at least 0"]),
        ({"augment": "adda"}, ["config.method.augment='adda'", "ada"]),
        ({"augment": "ada"}, ["augment='ada'", "augment_p", "augment_target=0.6"]),
        ({"augment_target": 0.6}, ["augment_target=0.6", "'none'"]),
        (
            {"augment": "ada", "augment_target": 0.6, "augment_p": "linear(0, 1, images=1e3)"},
            ["augment_p must be a number", "augment_target=0.6"],
        ),
        ({"regularize": ("cr",)}, ["config.method.regularize: 'cr' must be cr:REAL"]),
        ({"regularize": ("bcr:1",)}, ["'bcr:1' must be bcr:REAL,SYNTHETIC"]),
        ({"regularize": ("lecan:1",)}, ["'lecan:1' is unknown; did you mean 'lecam'?"]),
        ({"regularize": ("cr:1", "bcr:1,1")}, ["'real' twice"]),
        ({"regularize": ("topk:2,1e6",)}, ["at most 1"]),
        (
            {"regularize": ("zcr:5,0.5,0.05",), "categories": (4,), "code_dim": 12},
            ["'zcr' adds noise to codes", "config.method.categories=(4,) must be ()"],
        ),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], words: list[str]) -> None:
    found = config_of("gan")
    found["method"] |= changes
    with pytest.raises(BadInput) as error:
        configs.experiment(found)
    assert all(word in str(error.value) for word in words)


def test_batch_norm_of_infogans_network_meets_the_rules_of_all() -> None:
    found = config_of("gan")
    found["discriminator"] |= {"network": "infogan", "norm": "batch"}
    found["method"]["penalty"] = "r1"
    with pytest.raises(BadInput, match=r"penalty='r1' does not fit config\.discriminator\.norm"):
        configs.experiment(found)
    found["discriminator"]["norm"] = "none"
    configs.experiment(found)
    found["discriminator"]["norm"], found["method"]["penalty"] = "batch", "none"
    found["generator"]["norm"], found["batch_size"] = "none", 1
    with pytest.raises(BadInput, match=r"discriminator\.norm='batch' needs more than one input"):
        configs.experiment(found)


def test_a_gradient_above_the_limit_is_scaled_down_to_it() -> None:
    values = dict(config_of("gan")["generator_optimizer"]) | {"name": "sgd", "lr": 1.0}
    values |= {"momentum": 0.0, "clip_norm": 2.0}
    tx = optimizer(Section("config.generator_optimizer", values), 10)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    for size, expected in ((100.0, 2.0), (1.0, 1.0)):
        gradient = {"a": jnp.array([0.6, 0.0]) * size, "b": jnp.array(0.8) * size}
        updates, _ = tx.update(gradient, tx.init(params), params)
        norm = np.linalg.norm(np.concatenate([np.ravel(u) for u in jax.tree.leaves(updates)]))
        np.testing.assert_allclose(norm, expected, rtol=1e-6)
