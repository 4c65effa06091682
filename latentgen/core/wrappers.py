"""What wraps a method returns a method: an average of its parameters, a population of its runs."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, Key

from latentgen.core.types import Batch, Method, Params, PyTree, State


class Averaged(NamedTuple):
    """A method's state and the moving average of some players' parameters and stats."""

    state: State
    params: Params
    stats: Params


def with_averaged_params(state: State | Averaged) -> State:
    """The state that samples and probes look at: the averages in place of what they average."""
    if isinstance(state, State):
        return state
    params, stats = state.state.params | state.params, state.state.stats | state.stats
    return state.state._replace(params=params, stats=stats)


def with_raw_params(state: State | Averaged) -> State | Averaged:
    """The state whose averages are what they average: what looks sees the last step's weights."""
    if isinstance(state, State):
        return state
    params, stats = (
        {name: trees[name] for name in averages}
        for trees, averages in (
            (state.state.params, state.params),
            (state.state.stats, state.stats),
        )
    )
    return Averaged(state.state, params, stats)


def with_ema(method: Method, names: tuple[str, ...], decay: float, start: int = 0) -> Method:
    """`method` that looks through an exponential moving average of `names`: all but its steps do.

    avg <- decay avg + (1 - decay) theta after each step s >= start; before that avg = theta.

    Batch-norm averages belong to the parameters they were measured with, so they are averaged
    alike. Samples, probes and the objective's terms are those of the average; the losses of a step
    are those of the parameters themselves. See `with_raw_params` for what they are without it.
    """

    def pick(tree: Params) -> Params:
        return {name: tree[name] for name in names if name in tree}

    def init(key: Key[Array, ""]) -> Averaged:
        state = method.init(key)
        # Copies: a donated state must not hold one buffer twice.
        return Averaged(state, *jax.tree.map(jnp.copy, (pick(state.params), pick(state.stats))))

    def step(
        averaged: Averaged, step: Int[Array, ""], batches: Batch, key: Key[Array, ""]
    ) -> tuple[Averaged, dict[str, Array]]:
        state, metrics = method.step(averaged.state, step, batches, key)
        keep = jnp.where(step >= start, decay, 0.0)
        new = (pick(state.params), pick(state.stats))
        old = (averaged.params, averaged.stats)
        # new + keep (old - new): exactly `new` where keep is 0, and exactly still at a fixed point.
        mean = jax.tree.map(lambda a, b: (b + keep * (a - b)).astype(b.dtype), old, new)
        return Averaged(state, *mean), metrics

    def through(probe: Callable) -> Callable:
        return lambda averaged, *args, **named: probe(
            with_averaged_params(averaged), *args, **named
        )

    sample = None if method.sample is None else through(method.sample)
    probes = {name: through(probe) for name, probe in method.probes.items()}
    return Method(init, step, through(method.terms), sample, probes, method.draws)


def population(
    make: Callable[[Mapping[str, Float[Array, ""]]], Method],
    hypers: Mapping[str, Float[Array, " m"]],
    seeds: Integer[Array, " m"],
) -> Method:
    """m runs as one method: `vmap` over seeds and numeric hyperparameters.

    Every leaf of the state, the batches, the metrics, the samples, and a probe's arguments and
    results leads with the axis m; a key is handed to each member with its seed folded in.
    Handed key K, member i is the run `make(hypers_i)` with key fold_in(K, seeds_i), which is
    `keys.run_key(seeds_i)` where K is key(0).

    Args:
        make: hyperparameters -> method; called under vmap, so that they may be traced.
        hypers: name -> m values; may be empty.
        seeds: m seeds.
    """
    plain = make({name: values[0] for name, values in hypers.items()})

    def keys(key: Key[Array, ""]) -> Key[Array, " m"]:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, seeds)

    def init(key: Key[Array, ""]) -> PyTree:
        return jax.vmap(lambda h, k: make(h).init(k))(hypers, keys(key))

    def step(
        state: PyTree, step: Int[Array, ""], batches: PyTree, key: Key[Array, ""]
    ) -> tuple[PyTree, dict[str, Array]]:
        return jax.vmap(lambda h, s, b, k: make(h).step(s, step, b, k))(
            hypers, state, batches, keys(key)
        )

    def terms(
        state: PyTree, step: Int[Array, ""], batch: PyTree, key: Key[Array, ""]
    ) -> dict[str, Array]:
        return jax.vmap(lambda h, s, k: make(h).terms(s, step, batch, k))(hypers, state, keys(key))

    def sample(state: PyTree, key: Key[Array, ""], n: int) -> Array:
        return jax.vmap(lambda h, s, k: make(h).sample(s, k, n))(hypers, state, keys(key))  # type: ignore[misc]

    def across(name: str) -> Callable:
        def probe(state: PyTree, *args: PyTree, **named: PyTree) -> PyTree:
            every = dict(enumerate(args)) | named
            mapped = {k: _spread(a) for k, a in every.items() if not isinstance(a, int)}

            def one(h: PyTree, s: PyTree, *mine: PyTree) -> PyTree:
                found = every | dict(zip(mapped, mine, strict=True))
                words = {k: found[k] for k in named}
                return make(h).probes[name](s, *(found[i] for i in range(len(args))), **words)

            return jax.vmap(one)(hypers, state, *mapped.values())

        return probe

    def _spread(arg: PyTree) -> PyTree:
        is_key = hasattr(arg, "dtype") and jnp.issubdtype(arg.dtype, jax.dtypes.prng_key)
        return keys(arg) if is_key else arg

    return Method(init, step, terms, sample, {n: across(n) for n in plain.probes}, plain.draws)


def population_batches(
    batches: Callable[..., Batch], seeds: Integer[Array, " m"]
) -> Callable[..., Batch]:
    """The minibatches of a population: those of each member's solo run, stacked.

    Args:
        batches: of one run, see `game.run_chunk`.
        seeds: as for `population`; rows then lead with (m,) in each step.
    """

    def every(resident: PyTree, rows: PyTree, key: Key[Array, ""], step: Int[Array, ""]) -> Batch:
        def one(row: PyTree, seed: Integer[Array, ""]) -> Batch:
            return batches(resident, row, jax.random.fold_in(key, seed), step)

        return jax.vmap(one)(rows, seeds)

    return every
