"""The log-likelihood of a model with codes, by annealing from the prior to the posterior and back.

Chains follow the path p_b(z) ~ p(z) p(x|z)^b, b = b_0 = 0, ..., b_(T-1) = 1, with Hamiltonian
Monte Carlo at each temperature. Forward chains give a lower bound of log p(x) in expectation,
reverse chains an upper one: bidirectional Monte Carlo, whose gap says how far off both can be.

Step sizes are found by a pilot run (`tune`) and then frozen. Annealed importance sampling is an
unbiased estimator of p(x) because each transition leaves its p_b invariant. A kernel that adapts
to its own chain does not, so its weights bound nothing; step sizes from other chains are constants
as far as the chains of `forward` and `reverse` are concerned. Both take the same ones: a reverse
chain is the forward chain run backwards, kernel by kernel.

Functions are of codes of shape (c, n, d), c chains for each of n examples, under jit or not.

References: Neal 2001, Annealed importance sampling, Statistics and Computing 11; Wu et al. 2016
(arXiv:1611.04273); Grosse et al. 2015 (arXiv:1511.02543).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from latentgen.core.errors import BadInput
from latentgen.metrics.weights import add, effective_samples, log_sum, nothing

LogDensity = Callable[[Float[Array, "c n d"]], Float[Array, "c n"]]
SamplePrior = Callable[[Key[Array, ""]], Float[Array, "c n d"]]


class Chain(NamedTuple):
    """State of the chains: codes, with log densities and gradients at them.

    Value and gradient of prior and likelihood are kept apart, so that the next temperature, which
    only weighs them differently, starts without evaluating the decoder again.
    """

    z: Float[Array, "c n d"]
    log_prior: Float[Array, "c n"]
    log_likelihood: Float[Array, "c n"]
    prior_gradient: Float[Array, "c n d"]
    likelihood_gradient: Float[Array, "c n d"]


Evaluate = Callable[[Float[Array, "c n d"]], Chain]


class Annealed(NamedTuple):
    """The bound on log p(x) that annealed chains give, for each of n examples.

    log_likelihood: in nats; from `forward` a lower bound of log p(x) in expectation, from
        `reverse` an upper one
    acceptance: the mean probability of accepting a proposal, over chains and temperatures
    effective_chains: in [1, c]; near 1 the bound rests on one chain
    log_w: the chains' log-weights, (c, n)
    z: where the chains ended: `forward`, near the posterior; `reverse`, near the prior
    """

    log_likelihood: Float[Array, " n"]
    acceptance: Float[Array, " n"]
    effective_chains: Float[Array, " n"]
    log_w: Float[Array, "c n"]
    z: Float[Array, "c n d"]


def linear_schedule(temperatures: int) -> Float[Array, " t"]:
    """b_t = t / (T - 1), t = 0, ..., T - 1, for T = `temperatures`.

    Raises:
        BadInput: T < 2.
    """
    return jnp.asarray(np.linspace(0.0, 1.0, _at_least_two(temperatures)), float)


def sigmoid_schedule(temperatures: int, radius: float = 4.0) -> Float[Array, " t"]:
    """b_t = s(u_t) scaled to [0, 1], s the sigmoid, u_t evenly spaced in [-radius, radius].

    Slow at both ends: near the prior, where the likelihood first takes hold, and near the
    posterior.

    Raises:
        BadInput: T < 2.

    Reference: Wu et al. 2016 (arXiv:1611.04273) and the code that came with it.
    """
    u = np.linspace(-radius, radius, _at_least_two(temperatures))
    s = 1 / (1 + np.exp(-u))
    return jnp.asarray((s - s[0]) / (s[-1] - s[0]), float)


def _at_least_two(temperatures: int) -> int:
    if temperatures < 2:
        raise BadInput(f"temperatures={temperatures} must be at least 2: the prior, the posterior.")
    return temperatures


def evaluate(log_prior: LogDensity, log_likelihood: LogDensity) -> Evaluate:
    """z -> the `Chain` at z: values and gradients of log p(z) and log p(x|z)."""

    def values_and_gradients(density, z):
        values, pull = jax.vjp(density, z)
        # Chains do not see each other: the gradient of the sum is each one's own.
        return values, pull(jnp.ones_like(values))[0]

    def at(z: Float[Array, "c n d"]) -> Chain:
        prior, prior_gradient = values_and_gradients(log_prior, z)
        likelihood, likelihood_gradient = values_and_gradients(log_likelihood, z)
        return Chain(z, prior, likelihood, prior_gradient, likelihood_gradient)

    return at


def leapfrog(
    at: Evaluate,
    chain: Chain,
    momentum: Float[Array, "c n d"],
    b: float | Float[Array, ""],
    step: Float[Array, " n"],
    leapfrogs: int,
) -> tuple[Chain, Float[Array, "c n d"]]:
    """`leapfrogs` steps of Hamiltonian dynamics in the potential -log p(z) - b log p(x|z).

    p += step/2 grad;  z += step p;  p += step/2 grad.  Time-reversible, and volume is preserved.

    Reference: Neal 2011, MCMC using Hamiltonian dynamics, section 5.2.3.3 (arXiv:1206.1901).
    """
    eps = step[None, :, None]

    def gradient(chain: Chain) -> Float[Array, "c n d"]:
        return chain.prior_gradient + b * chain.likelihood_gradient

    def body(_, moving):
        chain, momentum = moving
        momentum = momentum + eps / 2 * gradient(chain)
        chain = at(chain.z + eps * momentum)
        return chain, momentum + eps / 2 * gradient(chain)

    return jax.lax.fori_loop(0, leapfrogs, body, (chain, momentum))


def transition(
    at: Evaluate,
    chain: Chain,
    key: Key[Array, ""],
    b: float | Float[Array, ""],
    step: Float[Array, " n"],
    leapfrogs: int,
) -> tuple[Chain, Float[Array, "c n"]]:
    """One transition of Hamiltonian Monte Carlo, which leaves p(z) p(x|z)^b invariant.

    A momentum p ~ N(0, I), `leapfrogs` steps, accepted with probability min(1, e^-(H' - H)), where
    H = -log p(z) - b log p(x|z) + |p|^2 / 2. Reversible, so it is its own reverse kernel. What is
    infinite or not a number on the way is rejected.

    Returns:
        The chains, and the probability with which each proposal was to be accepted.

    Reference: Neal 2011, section 5.3.2 (arXiv:1206.1901).
    """
    momentum_key, accept_key = jax.random.split(key)
    momentum = jax.random.normal(momentum_key, chain.z.shape, chain.z.dtype)
    proposal, moved = leapfrog(at, chain, momentum, b, step, leapfrogs)

    def minus_energy(chain: Chain, momentum: Float[Array, "c n d"]) -> Float[Array, "c n"]:
        kinetic = 0.5 * (momentum**2).sum(axis=-1)
        return chain.log_prior + b * chain.log_likelihood - kinetic

    after = minus_energy(proposal, moved)
    gain = after - minus_energy(chain, momentum)
    probability = jnp.where(jnp.isfinite(after), jnp.exp(jnp.minimum(gain, 0.0)), 0.0)
    accepted = jax.random.uniform(accept_key, gain.shape, gain.dtype) < probability

    def choose(new, old):
        return jnp.where(accepted.reshape(accepted.shape + (1,) * (new.ndim - 2)), new, old)

    return jax.tree.map(choose, proposal, chain), probability


def tune(
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    sample_prior: SamplePrior,
    key: Key[Array, ""],
    schedule: Float[Array, " t"],
    leapfrogs: int = 10,
    target: float = 0.65,
    initial: float = 0.1,
    rate: float = 0.3,
    settle: int = 20,
) -> Float[Array, "t-1 n"]:
    """The leapfrog step sizes of each temperature and example, by a pilot run.

    step <- step exp(rate (acceptance - target)) after every transition, with the acceptance
    probability averaged over the example's chains. `settle` transitions at the first temperature
    find a step size there; each later temperature starts from its predecessor's.

    The result depends on x and on the pilot's chains. The chains measured later must be others (an
    independent key), and so must the code that a simulated x came from: tune never sees it.

    Args:
        sample_prior: (key) -> z ~ p(z), shape (c, n, d).
        schedule: b_0 = 0, ..., b_(T-1) = 1.
        target: 0.65 is near the most efficient in many dimensions.
        initial: the step size that the pilot starts with.

    Returns:
        (T - 1, n): row t is for the transitions at temperature b_(t+1). To be frozen.

    Reference: Wu et al. 2016 (arXiv:1611.04273); target: Beskos et al. 2013 (arXiv:1001.4460).
    """
    at = evaluate(log_prior, log_likelihood)
    start_key, run_key = jax.random.split(key)
    chain = at(sample_prior(start_key))

    def body(carry, inputs):
        chain, log_step = carry
        i, b = inputs
        move = jax.random.fold_in(run_key, i)
        chain, probability = transition(at, chain, move, b, jnp.exp(log_step), leapfrogs)
        log_step = log_step + rate * (probability.mean(axis=0) - target)
        return (chain, log_step), log_step

    log_step = jnp.full_like(chain.log_prior[0], math.log(initial))
    b = jnp.concatenate([jnp.full((settle,), schedule[1], schedule.dtype), schedule[1:]])
    _, log_steps = jax.lax.scan(body, (chain, log_step), (jnp.arange(len(b)), b))
    return jnp.exp(log_steps[settle:])


def forward(
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    sample_prior: SamplePrior,
    key: Key[Array, ""],
    schedule: Float[Array, " t"],
    steps: Float[Array, "t-1 n"],
    leapfrogs: int = 10,
) -> Annealed:
    """Annealed importance sampling: a lower bound of log p(x) in expectation.

    z_0 ~ p(z), and for t = 1, ..., T-1:

        log w += (b_t - b_(t-1)) log p(x|z_(t-1));  z_t ~ K_t(.|z_(t-1))

    E[w] = p(x), so E[log 1/c sum w] <= log p(x), and by Markov's inequality the bound exceeds
    log p(x) + a with probability at most e^-a. T = 2 is importance sampling from the prior.

    Args:
        sample_prior: (key) -> z_0 ~ p(z), shape (c, n, d).
        schedule: b_0 = 0, ..., b_(T-1) = 1.
        steps: from `tune`, row t-1 for the transition at b_t.
        leapfrogs: steps in each transition; the cost is (T - 1) leapfrogs + 1 gradients.

    Reference: Neal 2001; Wu et al. 2016, section 3 (arXiv:1611.04273).
    """
    at = evaluate(log_prior, log_likelihood)
    start_key, run_key = jax.random.split(key)

    def body(carry, inputs):
        chain, log_w, acceptance = carry
        i, before, b, step = inputs
        log_w = log_w + (b - before) * chain.log_likelihood
        move = jax.random.fold_in(run_key, i)
        chain, probability = transition(at, chain, move, b, step, leapfrogs)
        return (chain, log_w, acceptance + probability), None

    chain = at(sample_prior(start_key))
    zero = jnp.zeros_like(chain.log_likelihood)
    inputs = (jnp.arange(len(steps)), schedule[:-1], schedule[1:], steps)
    (chain, log_w, acceptance), _ = jax.lax.scan(body, (chain, zero, zero), inputs)
    weights = add(nothing(log_w[0]), log_w)
    return Annealed(
        log_sum(weights) - math.log(len(log_w)),
        acceptance.mean(axis=0) / len(steps),
        effective_samples(weights),
        log_w,
        chain.z,
    )


def reverse(
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    z: Float[Array, "c n d"],
    key: Key[Array, ""],
    schedule: Float[Array, " t"],
    steps: Float[Array, "t-1 n"],
    leapfrogs: int = 10,
) -> Annealed:
    """The forward chain backwards from the posterior: an upper bound of log p(x) in expectation.

    z_(T-1) = z, and for t = T-1, ..., 1:

        z_(t-1) ~ K_t(.|z_t);  log w += (b_t - b_(t-1)) log p(x|z_(t-1))

    If z ~ p(z|x), then E[1/w] = 1/p(x). The average that bounds is therefore that of 1/w:
    E[log 1/c sum 1/w] <= -log p(x), so

        E[-log 1/c sum_i exp(-log w_i)] >= log p(x).

    (log 1/c sum w, or a mean of log w over chains that share a start, is another estimate; only
    the mean of log w is a bound too, a looser one.) The chains need not be independent, as the
    expectation of a mean does not ask for it: all c may start at the one exact sample there is.

    Args:
        z: exact samples of p(z|x), (c, n, d), equal over c if there is one for each example. To
            have them, simulate: z ~ p(z), x ~ p(x|z); z is then a sample of p(z|x). The bound is
            one for simulated x only.
        schedule: as in `forward`, from 0 to 1.
        steps: those of `forward`, found without z.

    Returns:
        As `forward`, with the upper bound; effective_chains is of the weights 1/w.

    Reference: Grosse et al. 2015 (arXiv:1511.02543).
    """
    at = evaluate(log_prior, log_likelihood)

    def body(carry, inputs):
        chain, log_w, acceptance = carry
        i, before, b, step = inputs
        move = jax.random.fold_in(key, i)
        chain, probability = transition(at, chain, move, b, step, leapfrogs)
        log_w = log_w + (b - before) * chain.log_likelihood
        return (chain, log_w, acceptance + probability), None

    chain = at(z)
    zero = jnp.zeros_like(chain.log_likelihood)
    inputs = (jnp.arange(len(steps)), schedule[:-1], schedule[1:], steps)
    (chain, log_w, acceptance), _ = jax.lax.scan(body, (chain, zero, zero), inputs, reverse=True)
    weights = add(nothing(log_w[0]), -log_w)
    return Annealed(
        math.log(len(log_w)) - log_sum(weights),
        acceptance.mean(axis=0) / len(steps),
        effective_samples(weights),
        log_w,
        chain.z,
    )
