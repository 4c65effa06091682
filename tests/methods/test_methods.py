"""Requirements of every method. Add a row for a new method."""

import contextlib
import copy
import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.interpreters import partial_eval as pe
from jax.experimental.key_reuse._core import check_key_reuse_jaxpr  # public: at run time only

from latentgen import configs
from latentgen.core import schedules
from latentgen.core.game import run_chunk
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method
from latentgen.core.wrappers import population, population_batches
from latentgen.data import pipeline, sources
from latentgen.data.preprocess import PREPROCESS
from latentgen.storage.workdir import flatten

ROOT = Path(__file__).parents[2]
LONG = pytest.mark.long


class Row(NamedTuple):
    """An experiment, what is changed in it, and a numeric hyperparameter of it.

    still: terms without noise; a method reports some of these, unless there are none
    """

    experiment: str
    changes: dict[str, Any]
    hyper: str
    variant: str | None = None
    still: tuple[str, ...] = ("rate", "d_real", "real_logit", "cross_entropy")


SMALL_CONV = {"network": "conv", "hidden": (16,), "channels": (4, 8)}
SMALL_R3GAN = {"channels": (4, 8), "groups": (2,), "half": 1}


def both(a: str, b: str, changes: dict[str, Any]) -> dict[str, Any]:
    return {f"{net}.{key}": value for net in (a, b) for key, value in changes.items()}


ROWS = {
    "vae": Row("vae", {}, "method.beta"),
    "vae-normal-warmup-ema": Row(
        "vae",
        {
            "method.likelihood": "normal",
            "method.warmup_steps": 5,
            "method.free_nats": 0.5,
            "method.ema_decay": 0.9,
            **both("encoder", "decoder", {"norm": "layer", "dropout": 0.2}),
        },
        "optimizer.lr",
    ),
    "vae-conv-batch-bfloat16": Row(
        "vae",
        {
            "compute": "bfloat16",
            **both("encoder", "decoder", SMALL_CONV | {"norm": "batch"}),
        },
        "optimizer.lr",
    ),
    "vae-dreg-vamp": Row(
        "vae",
        {
            "method.prior": "vamp",
            "method.components": 5,
            "method.bound": "iwae",
            "method.samples": 3,
            "method.kl": "sampled",
            "method.estimator": "dreg",
        },
        "optimizer.lr",
        still=(),
    ),
    "vae-two-layers-mixture": Row(
        "vae",
        {
            "method.second_code_dim": 3,
            "method.prior": "mixture",
            "method.components": 4,
            "method.kl": "sampled",
        },
        "method.beta",
        still=(),
    ),
    "vae-flow-logistic-classes": Row(
        "vae",
        {
            "method.posterior": "flow",
            "method.kl": "sampled",
            "method.likelihood": "discretized_logistic",
            "method.classes": 10,
        },
        "optimizer.lr",
        still=(),
    ),
    "gan": Row("gan", {"method.ema_decay": 0.0}, "generator_optimizer.lr"),
    "gan-minimax-ema": Row("gan", {"method.loss": "minimax"}, "discriminator_optimizer.lr"),
    "gan-conv-3-steps-uniform": Row(
        "gan",
        {
            "method.discriminator_steps": 3,
            "method.prior": "uniform",
            **both("generator", "discriminator", SMALL_CONV | {"norm": "batch"}),
        },
        "discriminator_optimizer.lr",
    ),
    "gan-relativistic-r1r2-packing": Row(
        "gan",
        {
            "method.loss": "relativistic",
            "method.penalty": "r1_r2",
            "method.packing": 2,
        },
        "method.penalty_weight",
    ),
    "gan-wgan-gp-spectral-projection": Row(
        "gan",
        {
            "method.loss": "wasserstein",
            "method.penalty": "wgan_gp",
            "method.classes": 10,
            "method.condition": "projection",
            "method.discriminator_steps": 2,
            "discriminator.norm": "spectral",
        },
        "method.penalty_weight",
    ),
    "gan-ada-packing": Row(
        "gan",
        {
            "method.augment": "ada:r3gan",
            "method.augment_target": 0.6,
            "method.penalty": "r1",
            "method.packing": 2,
        },
        "method.augment_p",
    ),
    "gan-regularized-normalized-diffaugment": Row(
        "gan",
        {
            "method.loss": "hinge",
            "method.augment": "diffaugment",
            "method.regularize": (
                *("bcr:10,10", "zcr:5,0.5,0.05", "lecam:0.3", "topk:0.5,64", "features:0.1"),
            ),
            "method.gradient_normalization": True,
        },
        "generator_optimizer.lr",
    ),
    "gan-mixture-clip": Row(
        "gan",
        {
            "method.prior": "mixture",
            "method.weight_clip": 0.05,
            "generator_optimizer.clip_norm": 1.0,
        },
        "method.weight_clip",
    ),
    "gan-microbatches": Row(
        "gan", {"microbatches": 2, "method.ema_more": (0.5, 64.0)}, "generator_optimizer.lr"
    ),
    "gan-resnet-hinge": Row(
        "gan",
        {
            "method.loss": "hinge",
            **both(
                "generator",
                "discriminator",
                {"network": "resnet", "hidden": (), "channels": (4,)},
            ),
            "discriminator.norm": "spectral",
        },
        "generator_optimizer.lr",
    ),
    "gan-stylegan2-classes": Row(
        "gan",
        {
            "method.classes": 10,
            "method.condition": "network",
            "method.path_every": 2,
            "method.penalty_every": 3,
            "method.code_dim": 4,
            "mapping.width": 4,
            "discriminator.group": 1,  # larger groups are of a batch: no terms of an example
            **both("generator", "discriminator", {"channel_max": 4}),
        },
        "method.penalty_weight",
        "stylegan2",
    ),
    "gan-sngan-projection": Row(
        "gan",
        {
            "discriminator.width": 4,
            "generator.width": 4,
        },
        "generator_optimizer.lr",
        "sngan_projection_cifar10",
    ),
    "gan-biggan": Row(
        "gan",
        {
            "generator.width": 2,
            "generator.shared": 4,
            "generator.attention": (1,),
            "discriminator.width": 2,
        },
        "method.orthogonal",
        "biggan",
    ),
    "gan-auxiliary-infogan": Row(
        "gan",
        {
            "method.classes": 10,
            "method.condition": "auxiliary",
            "method.categories": (3,),
            "method.continuous": 2,
            "method.code_dim": 9,
            **both("discriminator", "discriminator", SMALL_CONV | {"network": "infogan"}),
            **both("generator_optimizer", "discriminator_optimizer", {"name": "adam_tensorflow"}),
        },
        "method.auxiliary_weight",
    ),
    "gan-r3gan-classes-half": Row(
        "gan",
        {
            **both("generator", "discriminator", SMALL_R3GAN),
            "method.classes": 10,
            "method.condition": "network",
            "generator_optimizer.lr": 2e-4,
        },
        "generator_optimizer.lr",
        "r3gan",
    ),
    "aae": Row(
        "hybrids",
        {},
        "encoder_optimizer.lr",
        "aae",
        still=("distortion", "synthetic_logit"),
    ),
    "aae-normal-uniform-conv-batch": Row(
        "hybrids",
        {
            "method.likelihood": "normal_learned",
            "method.prior": "uniform",
            "method.loss": "wasserstein",
            "discriminator.norm": "spectral",
            **both("encoder", "decoder", SMALL_CONV | {"norm": "batch"}),
        },
        "method.std_floor",
        "aae",
        still=("synthetic_logit",),
    ),
    "vaegan": Row("hybrids", {}, "method.gamma", "vaegan"),
    "vaegan-relativistic-conv-spectral": Row(
        "hybrids",
        {
            "method.loss": "relativistic",
            "method.augment": "diffaugment",
            "method.ema_decay": 0.0,
            **both("encoder", "decoder", SMALL_CONV | {"norm": "batch"}),
            **both("discriminator", "discriminator", SMALL_CONV | {"norm": "spectral"}),
        },
        "encoder_optimizer.lr",
        "vaegan",
    ),
    "bigan": Row("hybrids", {}, "generator_optimizer.lr", "bigan"),
    "ali-hinge-conv": Row(
        "hybrids",
        {
            "method.loss": "hinge",
            "method.augment": "ada:blit",
            "method.augment_p": 0.3,
            "head.norm": "spectral",
            **both("generator", "encoder", SMALL_CONV | {"norm": "batch"}),
            **both("discriminator", "discriminator", SMALL_CONV | {"norm": "spectral"}),
        },
        "discriminator_optimizer.lr",
        "ali",
        still=(),
    ),
    "classifier": Row("classifier", {"encoder.channels": (4, 8)}, "optimizer.lr"),
}
LONG_ROWS = {  # variants of rows that `make test` runs, or the parts of which others show
    "vae",
    "gan",
    "gan-resnet-hinge",
    "gan-stylegan2-classes",
    "gan-sngan-projection",
    "gan-biggan",
    "gan-ada-packing",
    "gan-regularized-normalized-diffaugment",
    "aae-normal-uniform-conv-batch",
    "vaegan-relativistic-conv-spectral",
    "ali-hinge-conv",
}
EVERY_ROW = [pytest.param(name, marks=[LONG] if name in LONG_ROWS else []) for name in ROWS]


def only(*quick: str, long: tuple[str, ...] = ()) -> list[Any]:
    return [*quick, *(pytest.param(name, marks=LONG) for name in long)]


@functools.cache
def experiment(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(row: Row) -> dict[str, Any]:
    module = experiment(row.experiment)
    config = (module.get_config(row.variant) if row.variant else module.get_config()).to_dict()
    for key, value in row.changes.items():
        assert key in flatten(config)
        *path, name = key.split(".")
        section = config
        for part in path:
            section = section[part]
        section[name] = value
    return copy.deepcopy(config)


SHAPE = (8, 8, 1)


KEY = run_key(0)


@functools.cache
def method_of(name: str) -> Method:
    return configs.experiment(config_of(ROWS[name])).plan.wire(SHAPE)


@functools.cache
def start_of(name: str) -> Any:
    return jax.jit(method_of(name).init)(KEY)


def batches(steps: int, draws: int) -> Batch:
    x = np.random.default_rng(0).uniform(size=(steps, draws, 16, *SHAPE))
    return Batch(jnp.asarray(x, jnp.float32), jnp.zeros((steps, draws, 16), jnp.int32))


SMALL = {
    "hidden": (8,),
    "channels": (4, 8),
    "blocks": (1,),
    "groups": (2,),
    "half": 1,
    "channel_max": 8,
    "widest": 16,
    "components": 5,
    "code_dim": 4,
    "categories": (2,),
    "continuous": 1,
    "second_code_dim": 3,
    "samples": 4,
    "group": 2,
    "width": 4,
    "shared": 4,
    "attention": (1,),
    "warmup_steps": 2,
}


def shrunk(config: dict[str, Any]) -> dict[str, Any]:
    """The config with small sizes in place of large ones; what is 0, 1 or empty stays so."""
    return {
        key: value
        if key == "evaluate"
        else shrunk(value)
        if isinstance(value, dict)
        else SMALL[key]
        if key in SMALL and value not in (0, 1, ())
        else value
        for key, value in config.items()
    }


def program(config: dict[str, Any]) -> str:
    """Key of a config's program: all but the run's sizes and the values of nonzero floats."""

    def kind(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: kind(each) for key, each in value.items()}
        if isinstance(value, str) and schedules.is_schedule(value):
            return "schedule"
        return value != 0 if isinstance(value, float) else value

    rest = {key: v for key, v in shrunk(config).items() if key not in ("every", "steps", "seed")}
    stacked = config["data"]["name"].startswith("stacked")
    data = {"preprocess": config["data"]["preprocess"], "stacked": stacked}
    return json.dumps(kind(rest | {"data": data, "batch_size": 0}), sort_keys=True)


EXPERIMENTS = ("vae", "gan", "hybrids", "classifier")
PROGRAMS = {  # of variants that differ in numbers alone, the first
    program(config_of(Row(name, {}, "", variant))): (name, variant)
    for name in EXPERIMENTS
    for variant in reversed(experiment(name).VARIANTS)
}


UNLIKE_ROWS = {
    ("gan", "infogan_network"),
    ("gan", "ring"),
    ("vae", "uniform"),
}  # quick: no row has these


@pytest.mark.parametrize("name", EVERY_ROW)
@pytest.mark.quick(9)
def test_a_run_moves_its_state_resumes_and_bears_black_and_white(name: str) -> None:
    lives(method_of(name), start_of(name), batches(4, method_of(name).draws))


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param(*each, marks=[] if each in UNLIKE_ROWS else [LONG])
        for each in sorted(PROGRAMS.values())
    ],
)
def test_every_variant_trains_resumes_and_bears_black_and_white(name: str, variant: str) -> None:
    """`make test` only runs the rows; tests/test_config.py traces a step of each variant."""
    config = shrunk(config_of(Row(name, {}, "", variant)))
    points = config["data"]["preprocess"] == "none"
    planes = 3 if config["data"]["name"].startswith("stacked") else 1
    method = configs.experiment(config).plan.wire((2,) if points else (8, 8, planes))
    data = batches(4, method.draws)
    x = jnp.repeat(data.x, planes, axis=-1)
    data = data._replace(x=x[..., :2, 0, 0] if points else x)
    lives(method, jax.jit(method.init)(KEY), data)


def lives(method: Method, start: Any, data: Batch) -> None:
    """Train on ordinary images, resuming bitwise, then on black and on white ones."""
    run = runner(method)

    def of(value: float) -> Batch:
        return pairs[0]._replace(x=jnp.full_like(pairs[0].x, value))

    assert not any(leaf.weak_type for leaf in jax.tree.leaves(start))  # a checkpoint forgets it
    data = data._replace(x=jnp.round(data.x))
    pairs = [jax.tree.map(lambda a, i=i: a[i : i + 2], data) for i in (0, 2)]
    half, metrics = run(start, 0, pairs[0], KEY)
    assert finite(half, metrics)
    kept = jax.tree.map(np.array, half)  # all that a checkpoint would hold
    end, _ = run(half, 2, pairs[1], KEY)
    state, _ = run(jax.tree.map(jnp.asarray, kept), 2, pairs[1], KEY)
    assert_bitwise(end, state)
    both = zip(*map(jax.tree.leaves, (start, state)), strict=True)
    moved = [not np.array_equal(a, b) for a, b in both]
    assert sum(moved) > len(moved) / 2
    for at, value in ((4, 0.0), (6, 1.0)):
        state, metrics = run(state, at, of(value), KEY)
        assert finite(state, metrics)


def finite(*trees: Any) -> bool:
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(trees))


def runner(method: Method) -> Callable[[Any, int, Batch, jax.Array], tuple[Any, dict]]:
    chunk = jax.jit(lambda s, i, rows, k: run_chunk(method, lambda _, r, *__: r, s, i, rows, (), k))
    return lambda state, first, data, key: chunk(state, first + jnp.arange(len(data.x)), data, key)


@pytest.mark.parametrize(
    "name",
    only("vae-normal-warmup-ema", "gan-minimax-ema", long=("aae", "vaegan", "bigan", "classifier")),
)
def test_a_run_in_pieces_is_the_run_bitwise(name: str) -> None:
    """Run 4 steps as 2 and 2; tests/test_resume.py has whole runs of all methods."""
    method, start = method_of(name), start_of(name)
    run, data = runner(method), batches(4, method.draws)
    end, metrics = run(start, 0, data, KEY)
    half, first = run(start, 0, jax.tree.map(lambda a: a[:2], data), KEY)
    pieces, second = run(half, 2, jax.tree.map(lambda a: a[2:], data), KEY)
    assert_bitwise(end, pieces)
    for term in metrics:
        assert_bitwise(metrics[term], np.concatenate([first[term], second[term]]))


def assert_bitwise(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


TOGETHER = (
    *("vae-normal-warmup-ema", "aae", "bigan", "gan-ada-packing", "gan-stylegan2-classes"),
    *("gan-r3gan-classes-half", "gan-auxiliary-infogan"),
)


@pytest.mark.parametrize("name", only("gan", long=TOGETHER))
def test_population_member_is_the_solo_run(name: str) -> None:
    """To float tolerance: batched kernels sum in another order, and Adam's first steps amplify it.

    On real digits, binarized anew in each step: data order and noise are each member's own.
    """
    row = ROWS[name]
    make = configs.make(config_of(row), SHAPE)
    seeds, values, root = jnp.array([3, 8]), jnp.array([0.5, 2.0]) * 1e-3, jax.random.key(0)
    many = population(make, {row.hyper: values}, seeds)
    train = sources.load("digits").splits["train"]
    feeds = [
        pipeline.feed(train, PREPROCESS["binarize"], 16, many.draws, run_key(int(seed)))
        for seed in seeds
    ]
    rows = jnp.stack([feed.rows(0, 3) for feed in feeds], axis=1)  # steps lead, then members
    every = population_batches(feeds[0].batches, seeds)
    start = jax.jit(many.init)(root)
    end, metrics = jax.jit(
        lambda s, rows, data: run_chunk(many, every, s, jnp.arange(3), rows, data, root)
    )(start, rows, feeds[0].resident)
    for i in (0, 1) if name == "gan" else (1,):
        solo, key = make({row.hyper: float(values[i])}), run_key(int(seeds[i]))
        expected, solo_metrics = jax.jit(
            lambda s, rows, data, i=i, solo=solo, key=key: run_chunk(
                solo, feeds[i].batches, s, jnp.arange(3), rows, data, key
            )
        )(jax.jit(solo.init)(key), feeds[i].rows(0, 3), feeds[i].resident)
        for a, b in zip(jax.tree.leaves(end), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=2e-3, atol=2e-4)
        for metric, found in solo_metrics.items():
            np.testing.assert_allclose(metrics[metric][:, i], found, rtol=2e-3, atol=2e-4)
        mine = jax.tree.map(lambda a, i=i: a[i], end)
        x = jax.jit(solo.sample, static_argnums=2)(mine, key, 3)
        together = jax.jit(many.sample, static_argnums=2)(end, root, 3)
        np.testing.assert_allclose(together[i], x, rtol=2e-3, atol=2e-4)
        z = many.probes["codes"](end, root, 3)
        np.testing.assert_array_equal(z[i], solo.probes["codes"](mine, key, 3))
        decoded, alone = jax.jit(many.probes["decode"])(end, z), jax.jit(solo.probes["decode"])
        np.testing.assert_allclose(decoded[i], alone(mine, z[i]), atol=1e-4)


@pytest.mark.parametrize("name", EVERY_ROW)
@pytest.mark.quick(3)
def test_train_step_reads_its_hyperparameters_no_key_twice_and_lowers(name: str) -> None:
    """Each hyperparameter may be a schedule, so the compiled step must depend on it."""
    method, state, config = method_of(name), start_of(name), config_of(ROWS[name])
    make, hypers = configs.make(config, SHAPE), hypers_of(config)
    data = jax.tree.map(lambda a: a[0], batches(1, method.draws))
    step = jax.jit(lambda h, s, i, b, k: make(h).step(s, i, b, k))
    args = (hypers, state, jax.ShapeDtypeStruct((), jnp.int32), data, run_key(0))
    jaxpr = step.trace(*args).jaxpr.jaxpr
    in_state = len(jax.tree.leaves(state))  # not whether a metric shows it
    _, used = pe.dce_jaxpr(jaxpr, [i < in_state for i in range(len(jaxpr.outvars))])
    assert [key for key, reads in zip(sorted(hypers), used, strict=False) if not reads] == []
    twice = name.startswith("vaegan")  # x and its reconstruction share the dropout mask
    with pytest.raises(jax.errors.KeyReuseError) if twice else contextlib.nullcontext():
        check_key_reuse_jaxpr(jaxpr)
    exported = jax.export.export(step, platforms=["cpu", "cuda", "tpu"])(*args)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert len(exported.mlir_module()) > 1000


def hypers_of(config: dict[str, Any]) -> dict[str, jax.Array]:
    """The hyperparameters that a config's method and optimizers have and that are not 0."""

    def has(key: str, value: Any) -> bool:
        section, _, name = key.rpartition(".")
        if section.endswith("optimizer"):
            return value != 0 and name in USED_BY[config[section]["name"]]
        return section == "method" and value != 0 and NEEDS.get(name, bool)(config["method"])

    values = {key: value for key, value in flatten(config).items() if isinstance(value, float)}
    return {key: jnp.float32(value) for key, value in values.items() if has(key, value)}


ADAM = ("lr", "b1", "b2", "eps", "clip_norm")
USED_BY = {
    **{"adam": ADAM, "adam_tensorflow": ADAM, "rmsprop": ("lr", "b2", "eps", "clip_norm")},
    "sgd": ("lr", "momentum", "clip_norm"),
}
NEEDS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "std": lambda method: False,  # of the model, not of its training
    "std_floor": lambda method: False,
    "share": lambda method: method["bound"] == "ciwae",
    "augment_images": lambda method: bool(method["augment_target"]),
    "auxiliary_weight": lambda m: bool(m["categories"] or m["condition"] == "auxiliary"),
    "penalty_weight": lambda method: method["penalty"] != "none",
    "ema_decay": lambda method: not method.get("ema_images"),
}
"""Hyperparameter -> whether training under a config's `method` reads it."""


@pytest.mark.parametrize("name", [row for row in EVERY_ROW if row.values != ("classifier",)])
@pytest.mark.quick(5)
def test_samples_and_probes(name: str) -> None:
    method, state = method_of(name), start_of(name)
    probes, label = method.probes, jnp.arange(5)

    @jax.jit
    def looked_at(state: Any) -> dict[str, jax.Array]:
        """Compute the outputs of all probes for a state, in one program."""
        x, other = (method.sample(state, jax.random.key(i), 5) for i in range(2))
        z = probes["codes"](state, jax.random.key(0), 5)
        found = {"x": x, "other": other, "z": z, "decoded": probes["decode"](state, z)}
        batch = Batch(jnp.round(jnp.clip(x, 0, 1)), label)
        codes = jnp.stack([z, 0.9 * z, 0.5 * z])
        if "draw" in probes:
            codes, found["log_q"] = probes["draw"](state, batch, run_key(2), 3)
            found["log_posterior"] = probes["log_posterior"](state, batch, codes)
        found |= {"codes": codes, "log_prior": probes["log_prior"](state, codes)}
        if "log_likelihood" in probes:
            found["log_likelihood"] = probes["log_likelihood"](state, batch, codes)
            found["observed"] = probes["observe"](state, run_key(3), z, label)
        return found

    found = {name: np.asarray(value) for name, value in looked_at(state).items()}
    x, z = found["x"], found["z"]
    assert x.shape == (5, *SHAPE)
    assert not np.allclose(x[0], x[1])
    assert not np.allclose(x, found["other"])
    np.testing.assert_allclose(found["decoded"], x, rtol=1e-6, atol=1e-6)
    assert found["codes"].shape == (3, *z.shape)
    assert found["log_prior"].shape == (3, 5)
    if "encode" in probes:
        assert jax.eval_shape(probes["encode"], state, x, label).shape == z.shape
    assert ("draw" in probes) == ("log_posterior" in probes)
    if "draw" in probes:
        np.testing.assert_allclose(found["log_posterior"], found["log_q"], rtol=1e-3, atol=1e-3)
    assert ("log_likelihood" in probes) == ("observe" in probes)
    if "log_likelihood" in probes:
        assert found["log_likelihood"].shape == (3, 5)
        assert np.isfinite(found["log_prior"] + found["log_likelihood"]).all()
        assert found["observed"].shape == x.shape
    if "discriminate" in probes:
        assert jax.eval_shape(probes["discriminate"], state, x, label).shape == (5,)


def test_a_classifier_generates_nothing() -> None:
    method, state = method_of("classifier"), start_of("classifier")
    assert method.sample is None
    x = jnp.zeros((5, *SHAPE))
    assert jax.eval_shape(method.probes["features"], state, x).shape == (5, 64)
    assert jax.eval_shape(method.probes["classify"], state, x).shape == (5, 10)


@pytest.mark.parametrize("name", EVERY_ROW)
@pytest.mark.quick(5)
def test_terms_are_one_per_example_whatever_the_batch(name: str) -> None:
    """Examples are independent in evaluation: the first 4 of 16 alone give equal terms.

    What depends on noise is compared where the noise is the same, so on metrics without it: the
    real logits of a discriminator, the KL of an encoder, ...
    """
    row, method, state = ROWS[name], method_of(name), start_of(name)
    batch = jax.tree.map(lambda a: a[0, 0], batches(1, 1))
    measure = jax.jit(method.terms)
    terms = measure(state, 0, batch, run_key(1))
    few = measure(state, 0, jax.tree.map(lambda a: a[:4], batch), run_key(1))
    assert all(value.shape == (16,) for value in terms.values())
    free_of_noise = set(row.still) & terms.keys()
    assert bool(free_of_noise) == bool(row.still)
    for term in free_of_noise:
        np.testing.assert_allclose(terms[term][:4], few[term], rtol=1e-5)


@pytest.mark.parametrize("name", ROWS)
def test_hypers_must_be_float_keys(name: str) -> None:
    make = configs.make(config_of(ROWS[name]), SHAPE)
    for key in ("steps", "method.nothing", "method", "method.name"):
        with pytest.raises(ValueError, match=key):
            make({key: 1.0})


@pytest.mark.quick(4)
@pytest.mark.parametrize("name", list(ROWS))
def test_probes_are_exported_for_any_batch(name: str) -> None:
    """A decoder, encoder or discriminator can be compiled without the batch's size being known."""
    method, state = method_of(name), start_of(name)
    (n,) = jax.export.symbolic_shape("n")
    config = config_of(ROWS[name])
    dim = configs.experiment(config).plan.layers
    takes = {"decode": dim[:1], "encode": SHAPE, "discriminate": SHAPE}
    takes = {probe: shape for probe, shape in takes.items() if probe in method.probes}
    labels = {"label": np.arange(5, dtype=np.int32)} if config["method"].get("classes") else {}
    for probe, shape in takes.items():
        one = jax.jit(method.probes[probe])
        unknown = {key: jax.ShapeDtypeStruct((n,), jnp.int32) for key in labels}
        x = jax.random.uniform(jax.random.key(1), (5, *shape))
        made = jax.export.export(one)(state, jax.ShapeDtypeStruct((n, *shape), x.dtype), **unknown)
        found = made.call(state, x, **labels)
        np.testing.assert_allclose(found, one(state, x, **labels), rtol=1e-3, atol=1e-4)
