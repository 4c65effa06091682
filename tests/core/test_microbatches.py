"""Gradients over parts of a minibatch: the same update, in less memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import classifier, gan
from latentgen import configs
from latentgen.core.errors import BadInput
from latentgen.core.game import ascend, game
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method, Phase
from latentgen.core.wrappers import population, with_ema, with_microbatches
from latentgen.sweeps.plan import changed

SHAPE = (8, 8, 1)


def batches(n: int, shape: tuple[int, ...] = SHAPE, draws: int = 1) -> Batch:
    x = jax.random.uniform(jax.random.key(1), (draws, n, *shape))
    return Batch(x, jnp.arange(draws * n, dtype=jnp.int32).reshape(draws, n) % 10)


def counting(repeats: int) -> Method:
    """C(D, G) = (D + b) G per example b; stats count the calls and remember the last mean of b."""

    def loss(name):
        def value(params, stats, batch, key, step, train):
            b = batch.x[:, 0]
            own = {"calls": stats[name]["calls"] + 1, "mean": b.mean()}
            c = (params["D"] + b) * params["G"]
            return c, (stats | {name: own}, {f"c_{name}": c, f"key_{name}": jnp.ones_like(b)})

        return value

    def init(key):
        stats = {"calls": jnp.int32(0), "mean": jnp.float32(0)}
        return {"D": jnp.float32(1.0), "G": jnp.float32(2.0)}, {"D": stats, "G": stats}

    phases = [
        Phase(loss("D"), ("D",), ascend(optax.sgd(0.1)), repeats),
        Phase(loss("G"), ("G",), optax.sgd(0.1)),
    ]
    return game(init, phases, None, {})


def test_by_hand_two_parts_make_one_update() -> None:
    """The update by hand for the whole batch is in `test_game.py`; stats go from part to part."""
    method = with_microbatches(counting(1), 2)
    batch = Batch(jnp.array([[[0.0], [1.0]]]), jnp.zeros((1, 2), jnp.int32))
    state, metrics = method.step(method.init(run_key(0)), jnp.int32(0), batch, run_key(0))
    np.testing.assert_allclose(state.params["D"], 1.2, rtol=1e-6)
    np.testing.assert_allclose(state.params["G"], 1.83, rtol=1e-6)
    np.testing.assert_allclose(metrics["c_D"], 3.0, rtol=1e-6)
    np.testing.assert_allclose(metrics["c_G"], 3.4, rtol=1e-6)
    assert state.stats["D"] == state.stats["G"] == {"calls": 2, "mean": 1.0}  # the second part


def test_of_each_repeat_too() -> None:
    whole, parts = counting(3), with_microbatches(counting(3), 4)
    b = batches(8, (1,), draws=3)
    results = [
        m.step(m.init(run_key(0)), jnp.int32(0), b, run_key(0))[0].params for m in (whole, parts)
    ]
    np.testing.assert_allclose(results[0]["D"], results[1]["D"], rtol=1e-6)
    np.testing.assert_allclose(results[0]["G"], results[1]["G"], rtol=1e-6)


def method_of(config: Any, shape: tuple[int, ...], **changes: Any) -> Method:
    plain = changed(config, {key.replace("__", "."): value for key, value in changes.items()})
    return configs.experiment(plain).plan.wire(shape)


def small_classifier() -> Any:
    """A classifier without dropout and batch norm: its loss is a mean without noise."""
    found = classifier.get_config("digits")
    found.encoder.update(channels=(4, 8), dropout=0.0, norm="none")
    return found


def test_the_update_is_that_of_the_whole_batch() -> None:
    state = []
    for parts in (1, 2, 4):
        method = method_of(small_classifier(), SHAPE, microbatches=parts, batch_size=16)
        first = method.init(run_key(0))
        state.append(jax.jit(method.step)(first, jnp.int32(0), batches(16), run_key(0)))
    for other in state[1:]:
        for x, y in zip(jax.tree.leaves(state[0]), jax.tree.leaves(other), strict=True):
            scale = np.abs(np.asarray(x)).max(initial=1e-6)
            np.testing.assert_allclose(np.asarray(y), np.asarray(x), atol=2e-5 * scale)


def test_memory_falls() -> None:
    """Use a wide network, and XLA's own count of a step's temporary memory."""
    config = classifier.get_config("digits")
    config.encoder.update(channels=(64, 128))

    def bytes_of(parts: int) -> int:
        method = method_of(config, (32, 32, 1), microbatches=parts, batch_size=64)
        state = jax.eval_shape(method.init, run_key(0))
        shapes = jax.eval_shape(lambda: batches(64, (32, 32, 1)))
        lowered = jax.jit(method.step).lower(state, jnp.int32(0), shapes, run_key(0))
        return int(lowered.compile().memory_analysis().temp_size_in_bytes)

    whole, parts = bytes_of(1), bytes_of(8)
    assert parts < whole / 3, (whole, parts)


def test_a_population_and_an_average_have_it() -> None:
    config = changed(gan.get_config(), {"microbatches": 2, "batch_size": 8, "method.ema_start": 0})
    make = configs.make(config, SHAPE)
    method = population(make, {"method.penalty_weight": jnp.ones(2)}, jnp.arange(2))
    x = jax.eval_shape(lambda: jax.tree.map(lambda a: jnp.stack([a, a]), batches(8)))
    state = jax.eval_shape(method.init, run_key(0))
    jaxpr = str(jax.make_jaxpr(method.step)(state, jnp.int32(0), x, run_key(0)))
    assert "length=2" in jaxpr  # of the scan over parts
    after, _ = jax.eval_shape(method.step, state, jnp.int32(0), x, run_key(0))
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.parametrize("parts", [1, 2])
def test_each_players_gradient_is_clipped_on_its_own(parts: int) -> None:
    """Clip to a global norm after adding the parts: SGD of rate 1 then moves by that norm."""
    config = gan.get_config()
    for player, limit in (("generator", 0.0), ("discriminator", 1e-3)):
        config[player].update(hidden=(8,), norm="none", dropout=0.0)
        tx = {"name": "sgd", "lr": 1.0, "momentum": 0.0, "clip_norm": limit}
        config[f"{player}_optimizer"].update(tx)
    config.method.ema_decay = 0.0
    moves = lambda a, b: jax.tree.leaves(jax.tree.map(jnp.subtract, a, b))  # noqa: E731
    method = method_of(config, SHAPE, microbatches=parts, batch_size=16)
    before = method.init(run_key(0))
    after, _ = jax.jit(method.step)(before, jnp.int32(0), batches(16), run_key(0))
    moved = {
        player: float(jnp.sqrt(sum(jnp.vdot(x, x) for x in moves(*params))))
        for player, params in (
            (p, (after.params[p], before.params[p])) for p in ("generator", "discriminator")
        )
    }
    assert moved["discriminator"] == pytest.approx(1e-3, rel=1e-3)
    assert moved["generator"] > 2e-3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"microbatches": 3}, "batch_size=64 must be a multiple of config.microbatches=3."),
        (
            {"microbatches": 64, "method__packing": 2, "generator__norm": "none"},
            "=64 times config.method.packing=2.",
        ),
        ({"microbatches": 0}, "microbatches=0 must be at least 1"),
    ],
)
def test_parts_must_be_equal(changes: dict[str, int | str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        method_of(gan.get_config(), SHAPE, **changes)


def test_a_method_without_gradients_is_refused() -> None:
    method = counting(1)
    assert with_microbatches(with_ema(method, ("G",), 0.9), 2).accumulate is not None
    with pytest.raises(BadInput, match="microbatches=2 does not fit"):
        with_microbatches(method._replace(accumulate=None), 2)
