"""Reading a config: what fits is passed on, what does not is named."""

import functools
import json
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from latentgen import configs
from latentgen.configs.section import Section
from latentgen.core.errors import BadInput
from latentgen.core.types import Batch
from latentgen.system import plugins

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
VARIANTS = [
    (file, variant)
    for file in ("vae", "gan", "hybrids", "classifier")
    for variant in runpy.run_path(str(EXPERIMENTS / f"{file}.py"))["VARIANTS"]
]


@functools.cache
def written(file: str, *variant: str) -> str:
    config = runpy.run_path(str(EXPERIMENTS / f"{file}.py"))["get_config"](*variant)
    return json.dumps(config.to_dict())


def config_of(file: str, *variant: str) -> dict:
    return json.loads(written(file, *variant))


@pytest.mark.parametrize(("file", "variant"), VARIANTS)
def test_every_variant_describes_an_experiment(file: str, variant: str) -> None:
    config = config_of(file, variant)
    assert configs.experiment(config).steps > 0
    assert plugins.names(config) == []  # no module of a user's, whatever colons its values have


@pytest.mark.parametrize(("file", "variant"), VARIANTS)
@pytest.mark.quick(5)
def test_every_variant_has_a_step_and_samples(file: str, variant: str) -> None:
    config = config_of(file, variant)
    experiment = configs.experiment(config)
    name, side = experiment.data.name, experiment.data.pad_to or experiment.data.size
    sides = {"digits": 8, "mnist": 28, "fashion_mnist": 28, "sprites": 32, "cifar10": 32}
    side = side or sides.get(name.removeprefix("stacked_"))
    colored = name.startswith(("stacked_", "sprites", "cifar10", "folder:"))
    shape = (side, side, 3 if colored else 1) if side else (2,)
    method = experiment.plan.wire(shape)
    state = jax.eval_shape(method.init, jax.random.key(0))
    data = Batch(jnp.zeros((method.draws, 8, *shape)), jnp.zeros((method.draws, 8), jnp.int32))
    after, metrics = jax.eval_shape(
        lambda s, b: method.step(s, jnp.int32(0), b, jax.random.key(0)), state, data
    )
    kinds = jax.tree.map(lambda a: (a.shape, a.dtype), (after, state))
    assert kinds[0] == kinds[1]
    assert all(value.shape == () for value in metrics.values())
    if method.sample is None:
        assert file == "classifier"
        return
    x = jax.eval_shape(lambda s: method.sample(s, jax.random.key(0), 3), state)
    assert x.shape == (3, *shape)


def test_the_mlp_has_the_parameters_it_should() -> None:
    method = configs.experiment(config_of("vae", "fashion")).plan.wire((28, 28, 1))
    state = jax.eval_shape(method.init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert count == (784 * 400 + 400) + (400 * 40 + 40) + (20 * 400 + 400) + (400 * 784 + 784)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("method", "betta"), 1.0, ["config.method.betta", "'beta'"]),
        (("stepps",), 1, ["config.stepps", "'steps'"]),
        (("optimizer", "b1"), "x", ["config.optimizer.b1='x'", "number"]),
        (("optimizer", "b1"), 1.0, ["config.optimizer.b1=1.0"]),
        (("method", "ema_decay"), 1.5, ["ema_decay=1.5", "at most 1"]),
        (("encoder", "hidden"), 3, ["encoder.hidden=3", "tuple"]),
        (("encoder", "norm"), "bach", ["encoder.norm='bach'", "'batch'"]),
        (("every",), 10, ["config.every=10", "section"]),
        (("seed",), -1, ["seed=-1"]),
        (("seed",), 2**32, ["seed=4294967296"]),
        (("compute",), "float16", ["compute='float16'", "bfloat16"]),
        (("data", "augment"), ("flop",), ["config.data.augment=('flop',)", "'flip'"]),
        (("data", "color"), "red", ["config.data.color='red'", "grey"]),
        (("data", "balance"), 1, ["config.data.balance=1", "True or False"]),
    ],
)
def test_what_does_not_fit_is_named(path: tuple, value: object, words: list[str]) -> None:
    config = section = config_of("vae")
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    with pytest.raises(BadInput) as error:
        configs.experiment(config)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("likelihood", "preprocess", "levels"),
    [
        ("bernoulli", "binarize", 2),
        ("discretized_logistic", "unit", 256),
        ("categorical", "unit", 256),
    ],
)
def test_discrete_pixels_are_not_blended(likelihood: str, preprocess: str, levels: int) -> None:
    config = config_of("vae")
    config["data"] |= {"preprocess": preprocess, "augment": ("flip", "zoom:0.1")}
    config["method"]["likelihood"] = likelihood
    with pytest.raises(BadInput, match=rf"'zoom:0.1' makes pixels between the {levels} levels"):
        configs.experiment(config)
    config["data"]["augment"] = ("flip", "crop:1")
    assert configs.experiment(config).data.augment is not None


def test_a_missing_key_is_named() -> None:
    config = config_of("gan")
    del config["method"]["prior"]
    with pytest.raises(BadInput, match=r"config\.method\.prior is missing"):
        configs.experiment(config)


def test_traced_hyperparameters_pass() -> None:
    section = Section("config", {"lr": 1.0})

    @jax.jit
    def double(lr: jax.Array) -> jax.Array:
        return 2 * Section("config", {"lr": lr}).positive("lr")

    assert section.positive("lr") == 1.0
    assert double(jnp.float32(3.0)) == 6.0
