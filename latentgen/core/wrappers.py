"""Wrappers, method -> method: moving average of parameters, population of runs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, Key

from latentgen.core.errors import BadInput
from latentgen.core.schedules import Images, Schedule
from latentgen.core.types import Batch, Method, Params, PyTree, State


class Averaged(NamedTuple):
    """A method's state and the moving averages of some players' parameters and stats.

    params, stats: the averages that evaluation uses
    more: further averages, each with the keys 'params' and 'stats'
    """

    state: State
    params: Params
    stats: Params
    more: tuple[dict[str, Params], ...] = ()


def with_averaged_params(state: State | Averaged) -> State:
    """Return the state with the averages in place of the parameters and stats; for evaluation."""
    if isinstance(state, State):
        return state
    params, stats = state.state.params | state.params, state.state.stats | state.stats
    return state.state._replace(params=params, stats=stats)


def with_raw_params(state: State | Averaged) -> State | Averaged:
    """Reset the averages to the last step's parameters and stats; for evaluation without EMA."""
    if isinstance(state, State):
        return state
    params, stats = (
        {name: trees[name] for name in averages}
        for trees, averages in (
            (state.state.params, state.params),
            (state.state.stats, state.stats),
        )
    )
    return Averaged(state.state, params, stats, state.more)


def with_further_average(state: Averaged, index: int) -> Averaged:
    """Return the state with `more[index]` as the average that evaluation uses."""
    average = state.more[index]
    return state._replace(params=average["params"], stats=average["stats"])


Decay = float | Array | Callable[[Int[Array, ""]], Array]
"""Decay of a moving average, or a function of the updates done before the step."""


def with_ema(
    method: Method,
    names: tuple[str, ...],
    decay: Decay,
    start: int = 0,
    more: Sequence[Decay] = (),
    copied: Collection[str] = (),
) -> Method:
    """Evaluate `method` with an exponential moving average of some players' parameters.

    avg <- decay avg + (1 - decay) theta after each step s >= start; before that avg = theta.

    The stats, such as batch-norm averages, belong to the parameters that they were measured with,
    so they are averaged in the same way. Training steps and their metrics use theta; samples,
    probes and `terms` use avg, or theta after `with_raw_params`.

    Args:
        names: players to average.
        decay: in [0, 1], or a function of the updates done before the step.
        start: updates done before the first step that is averaged.
        more: decays of further averages to keep; see `with_further_average`.
        copied: players in `names` whose stats are those of the last step instead, such as moving
            averages that need no second one.
    """

    def selected(state: State) -> dict[str, Params]:
        trees = {"params": state.params, "stats": state.stats}
        return {
            part: {name: tree[name] for name in names if name in tree}
            for part, tree in trees.items()
        }

    def init(key: Key[Array, ""]) -> Averaged:
        state = method.init(key)
        # Copied: the state is donated, and a donated pytree must not contain a buffer twice.
        copies = [jax.tree.map(jnp.copy, selected(state)) for _ in range(1 + len(more))]
        return Averaged(state, **copies[0], more=tuple(copies[1:]))

    def step(
        averaged: Averaged, step: Int[Array, ""], batches: Batch, key: Key[Array, ""]
    ) -> tuple[Averaged, dict[str, Array]]:
        state, metrics = method.step(averaged.state, step, batches, key)
        new = selected(state)

        def moved(old: dict[str, Params], decay: Decay) -> dict[str, Params]:
            at_step = decay(step) if callable(decay) else decay
            current = jnp.where(step >= start, at_step, 0.0)
            # Exactly `new` where the decay is 0, and exactly `old` where old == new.
            average = jax.tree.map(lambda a, b: (b + current * (a - b)).astype(b.dtype), old, new)
            last = {name: new["stats"][name] for name in copied if name in new["stats"]}
            return average | {"stats": average["stats"] | last}

        main = moved({"params": averaged.params, "stats": averaged.stats}, decay)
        further = tuple(moved(*pair) for pair in zip(averaged.more, more, strict=True))
        return Averaged(state, **main, more=further), metrics

    def with_average(fn: Callable) -> Callable:
        return lambda averaged, *args, **kwargs: fn(with_averaged_params(averaged), *args, **kwargs)

    sample = None if method.sample is None else with_average(method.sample)
    probes = {name: with_average(probe) for name, probe in method.probes.items()}
    terms, inner = with_average(method.terms), method.accumulate
    accumulate = inner and (lambda parts: with_ema(inner(parts), names, decay, start, more, copied))
    return Method(
        init=init,
        step=step,
        terms=terms,
        sample=sample,
        probes=probes,
        draws=method.draws,
        accumulate=accumulate,
    )


def with_microbatches(method: Method, parts: int) -> Method:
    """Take each gradient over `parts` equal parts of a minibatch in turn, which saves memory.

    See `game.update_players`.

    Raises:
        BadInput: the method cannot accumulate gradients.
    """
    if parts == 1:
        return method
    if method.accumulate is None:
        raise BadInput(f"microbatches={parts} does not fit this method: only 1 does.")
    return method.accumulate(parts)


def scheduled(
    make: Callable[[Mapping[str, Float[Array, ""]]], Method],
    schedules: Mapping[str, Schedule],
    batch_size: int,
) -> Method:
    """Train with hyperparameters that change with the images seen.

    The step after s others is a step of `make(values)`, with the schedules' values after s n
    images, n the minibatches of a step times their size. So a hyperparameter has one value for all
    that happens in a step. Samples and probes have the last values.

    Args:
        make: hyperparameters -> method, all with the same state; called with traced numbers.
        schedules: name of a hyperparameter -> its values.
        batch_size: examples in a minibatch.
    """

    def at(images: Images) -> Method:
        return make({name: schedule(images) for name, schedule in schedules.items()})

    ends = {name: jnp.float32(schedule.last) for name, schedule in schedules.items()}
    last = make(ends)

    def after(step: Int[Array, ""]) -> Method:
        return at(step * jnp.float32(last.draws * batch_size))

    def accumulate(parts: int) -> Method:
        return scheduled(lambda h: with_microbatches(make(h), parts), schedules, batch_size)

    return last._replace(
        init=lambda key: at(0).init(key),
        step=lambda state, step, batches, key: after(step).step(state, step, batches, key),
        terms=lambda state, step, batch, key: after(step).terms(state, step, batch, key),
        accumulate=last.accumulate and accumulate,
    )


def population(
    make: Callable[[Mapping[str, Float[Array, ""]]], Method],
    hypers: Mapping[str, Float[Array, " m"]],
    seeds: Integer[Array, " m"],
) -> Method:
    """Train m runs as one method: `vmap` over seeds and numeric hyperparameters.

    State, batches, metrics, samples, and the arguments and results of probes have the leading
    axis m. Given the key K, member i is the run of `make(hypers_i)` with the key
    fold_in(K, seeds_i); for K = key(0) that is `keys.run_key(seeds_i)`.

    Args:
        make: hyperparameters -> method; called under vmap, with traced hyperparameters.
        hypers: name -> m values; may be empty.
        seeds: m seeds.
    """
    template = make({name: values[0] for name, values in hypers.items()})

    def member_keys(key: Key[Array, ""]) -> Key[Array, " m"]:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, seeds)

    def init(key: Key[Array, ""]) -> PyTree:
        return jax.vmap(lambda h, k: make(h).init(k))(hypers, member_keys(key))

    def step(
        state: PyTree, step: Int[Array, ""], batches: PyTree, key: Key[Array, ""]
    ) -> tuple[PyTree, dict[str, Array]]:
        return jax.vmap(lambda h, s, b, k: make(h).step(s, step, b, k))(
            hypers, state, batches, member_keys(key)
        )

    def terms(
        state: PyTree, step: Int[Array, ""], batch: PyTree, key: Key[Array, ""]
    ) -> dict[str, Array]:
        return jax.vmap(lambda h, s, k: make(h).terms(s, step, batch, k))(
            hypers, state, member_keys(key)
        )

    def sample(state: PyTree, key: Key[Array, ""], n: int) -> Array:
        return jax.vmap(lambda h, s, k: make(h).sample(s, k, n))(  # type: ignore[misc]
            hypers, state, member_keys(key)
        )

    def vmapped_probe(name: str) -> Callable:
        def probe(state: PyTree, *args: PyTree, **kwargs: PyTree) -> PyTree:
            inputs = dict(enumerate(args)) | kwargs  # an int is the same for all members
            mapped = {k: _per_member(a) for k, a in inputs.items() if not isinstance(a, int)}

            def of_member(h: PyTree, s: PyTree, *mapped_values: PyTree) -> PyTree:
                own = inputs | dict(zip(mapped, mapped_values, strict=True))
                own_kwargs = {k: own[k] for k in kwargs}
                return make(h).probes[name](s, *(own[i] for i in range(len(args))), **own_kwargs)

            return jax.vmap(of_member)(hypers, state, *mapped.values())

        return probe

    def _per_member(arg: PyTree) -> PyTree:
        is_key = hasattr(arg, "dtype") and jnp.issubdtype(arg.dtype, jax.dtypes.prng_key)
        return member_keys(arg) if is_key else arg

    probes = {name: vmapped_probe(name) for name in template.probes}
    return Method(init, step, terms, sample, probes, template.draws)


def population_batches(
    batches: Callable[..., Batch], seeds: Integer[Array, " m"]
) -> Callable[..., Batch]:
    """Make the `batches` function of a population: each member gets those of its solo run.

    Args:
        batches: of one run, see `game.run_chunk`.
        seeds: m seeds, as for `population`.

    Returns:
        The same function of rows with leading axis m, giving batches with leading axis m.
    """

    def stacked(resident: PyTree, rows: PyTree, key: Key[Array, ""], step: Int[Array, ""]) -> Batch:
        def of_member(row: PyTree, seed: Integer[Array, ""]) -> Batch:
            return batches(resident, row, jax.random.fold_in(key, seed), step)

        return jax.vmap(of_member)(rows, seeds)

    return stacked
