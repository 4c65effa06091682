"""Measures of the likelihood and of the codes of a method, over the images of a split."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key, run_key
from latentgen.core.types import Batch, Method, PyTree
from latentgen.data.pipeline import iterate_split
from latentgen.evaluation import views
from latentgen.evaluation.measures.subject import (
    Options,
    Result,
    Subject,
    batches,
    cut,
    evaluation_key,
    first,
    mean_of,
    over_images,
    with_progress,
)
from latentgen.metrics import annealing, latents, parzen
from latentgen.metrics.importance import Importance, bits_per_dimension, importance
from latentgen.probability import likelihoods, linear, priors
from latentgen.training import hooks

ROWS = 2_000  # codes decoded at once
CHUNK = 200  # importance samples of an image at once
IMAGES = 100  # default number of images for annealing
DRAWS = 50  # codes in each of the two averages for active units
SAMPLES = 10_000  # synthetic examples of the Parzen window


def terms(subject: Subject, options: Options) -> Result:
    """Compute the objective's terms, with networks in evaluation mode."""
    run, examples = subject.run, first(subject, options, None)
    own = options._replace(observation_std=None)  # the objective uses the method's own likelihood
    preprocess = run.experiment.data.preprocess
    found = hooks.split_terms(run.eval_fns.terms, preprocess, examples, run_key(options.seed))(
        subject.step, subject.state
    )
    values: dict[str, Any] = {name: value._asdict() for name, value in found.items()}
    if "negative_elbo" in found:
        values |= _bits(subject, own, -found["negative_elbo"].mean)
    return Result(values, {"images": len(examples.label), **_score_note(subject, own)})


def importance_sampled(subject: Subject, options: Options) -> Result:
    """Estimate log p(x) by importance sampling from q(z|x), a lower bound in expectation."""
    draw = views.probe(subject.run.method, "draw")
    log_prior, log_likelihood = densities(subject, options)
    chunk = min(options.k, CHUNK)
    images = max(1, ROWS // chunk)

    @jax.jit
    def measure(state: PyTree, batch: Batch, key: Key[Array, ""]) -> Importance:
        return importance(
            lambda key, s: draw(state, batch, key, s),
            lambda z: log_prior(state, z) + log_likelihood(state, batch, z),
            key,
            options.k,
            chunk,
        )

    found = over_images(subject, options, None, images, measure)
    values: dict[str, Any] = {
        _metric_name(subject, options): mean_of(found.log_likelihood),
        "effective_samples": mean_of(found.effective_samples),
        "effective_samples_quartiles": _quartiles(found.effective_samples),
    }
    values |= _bits(subject, options, values[_metric_name(subject, options)]["mean"])
    counted = {"images": len(found.log_likelihood), "k": options.k}
    protocol = {**counted, **_observation(options), **_score_note(subject, options)}
    return Result(values, protocol)


def annealed(subject: Subject, options: Options) -> Result:
    """Estimate log p(x) by annealed importance sampling, a lower bound in expectation."""
    tuned = _tuned(subject, options)

    @jax.jit
    def measure(state: PyTree, batch: Batch, key: Key[Array, ""]) -> dict[str, Array]:
        pilot, chains = jax.random.split(key)
        found = tuned(state, batch, pilot).forward(chains)
        names = ("log_likelihood", "acceptance", "effective_chains")
        return {name: getattr(found, name) for name in names}

    found = over_images(subject, options, IMAGES, max(1, ROWS // options.chains), measure)
    names = {"log_likelihood": _metric_name(subject, options)}
    values: dict[str, Any] = {names.get(n, n): mean_of(each) for n, each in found.items()}
    values |= _bits(subject, options, values[names["log_likelihood"]]["mean"])
    protocol = _annealing_protocol(options, len(found["log_likelihood"]))
    return Result(values, protocol | _score_note(subject, options))


def bidirectional(subject: Subject, options: Options) -> Result:
    """Bound log p(x) from below and above by annealing on images drawn from the model."""
    method, classes = subject.run.method, subject.run.experiment.plan.classes
    codes, observe = views.probe(method, "codes"), _observe(subject, options)
    tuned, number = _tuned(subject, options), options.images or IMAGES
    n = min(number, max(1, ROWS // options.chains))

    @jax.jit
    def measure(state: PyTree, key: Key[Array, ""]) -> tuple[Array, Array]:
        code_key, image_key, pilot, up, down = jax.random.split(key, 5)
        label = jnp.arange(n) % max(classes, 1)
        z = codes(state, code_key, n)
        batch = Batch(observe(state, image_key, z, label), label)
        exact = jnp.broadcast_to(z[None], (options.chains, *z.shape))
        annealer = tuned(state, batch, pilot)
        return annealer.forward(up).log_likelihood, annealer.reverse(exact, down).log_likelihood

    key = named_key(run_key(options.seed), "simulated")
    blocks = with_progress("bdmc", range(-(-number // n)))
    found = [measure(subject.state, jax.random.fold_in(key, i)) for i in blocks]
    lower, upper = (
        np.concatenate([np.asarray(a) for a in part])[:number] for part in zip(*found, strict=True)
    )
    values = {
        "lower_bound": mean_of(lower),
        "upper_bound": mean_of(upper),
        "gap": mean_of(upper - lower),
    }
    protocol = _annealing_protocol(options, number) | {"images_are": "drawn from the model"}
    return Result(values, protocol)


def active_units(subject: Subject, options: Options) -> Result:
    """Count the coordinates of the code whose posterior mean depends on x: Cov_x(E_q[z]) > 0.01."""
    draw = views.probe(subject.run.method, "draw")

    @jax.jit
    def measure(state: PyTree, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Array]:
        z, _ = draw(state, batch, key, 2 * DRAWS)
        return z[:DRAWS].mean(axis=0), z[DRAWS:].mean(axis=0)

    first, second = over_images(subject, options, None, hooks.AT_ONCE, measure)
    activity = latents.activity_from_samples(first, second)
    values: dict[str, Any] = {"active_units": int(latents.active_units(jnp.asarray(activity)))}
    layers = subject.run.experiment.plan.layers
    if len(layers) > 1:
        split = jnp.split(activity, np.cumsum(layers)[:-1].tolist())
        values["active_units_by_layer"] = [int(latents.active_units(each)) for each in split]
    values["activity"] = activity.tolist()
    return Result(values, {"images": len(first), "draws": 2 * DRAWS, "threshold": 0.01})


def surgery(subject: Subject, options: Options) -> Result:
    """Split the rate into the mutual information of x and z, and KL(q(z) || p(z))."""
    method, state = subject.run.method, subject.state
    draw, log_prior = (views.probe(method, name) for name in ("draw", "log_prior"))

    @jax.jit
    def sampled(state: PyTree, batch: Batch, key: Key[Array, ""]) -> tuple[Array, ...]:
        z, log_q = draw(state, batch, key, 1)
        return z[0], log_q[0], log_prior(state, z)[0]

    z, log_q, log_p = over_images(subject, options, None, hooks.AT_ONCE, sampled)
    batches_ = list(batches(subject, options, None, hooks.AT_ONCE))
    blocks = [jax.tree.map(lambda a, valid=valid: a[:valid], batch) for batch, valid in batches_]
    key = named_key(evaluation_key(options), "prior")
    prior_codes = views.prior(method, state, key, len(z))
    of_codes, of_prior = (
        views.aggregate_log_prob(method, state, codes, blocks)
        for codes in (jnp.asarray(z), prior_codes)
    )
    found = latents.surgery(log_q, of_codes, log_p)
    values = {
        "mutual_information": mean_of(found.information),
        "marginal_kl": mean_of(found.marginal_kl),
        "rate": mean_of(found.information + found.marginal_kl),
        "reverse_marginal_kl": mean_of(log_prior(state, prior_codes[None])[0] - of_prior),
        "log_images": math.log(len(z)),
    }
    return Result(values, {"images": len(z)})


def parzen_window(subject: Subject, options: Options) -> Result:
    """Compute the kernel density estimate of Goodfellow et al. 2014, in pixels of [0, 1]."""
    run, preprocess = subject.run, subject.run.experiment.data.preprocess
    key = named_key(run_key(options.seed), "parzen")
    synthetic = views.decoded(
        run.method, subject.state, views.prior(run.method, subject.state, key, SAMPLES)
    )

    def flat(x: Shaped[Array | np.ndarray, "n *shape"]) -> Float[Array, "n p"]:
        return preprocess.pixels(jnp.asarray(x)).reshape(len(x), -1)

    def real(split: str, images: int | None) -> Float[Array, "n p"]:
        examples = cut(run.dataset.splits[split], images)
        batches_ = iterate_split(examples, preprocess, len(examples.label), named_key(key, split))
        return flat(next(batches_)[0].x)

    samples, validation_images = flat(synthetic), real("validation", parzen.VALIDATION)
    sigma = jax.jit(parzen.choose_sigma)(samples, validation_images)
    test = real(subject.split, options.images)
    found = jax.jit(parzen.gaussian_parzen)(test, samples, sigma)
    values = {"log_likelihood": mean_of(found), "sigma": float(sigma)}
    protocol = {
        "images": len(test),
        "samples": SAMPLES,
        "validation_images": len(validation_images),
    }
    return Result(values, protocol)


def exact(subject: Subject, options: Options) -> Result:
    """Compute log p(x) exactly, for an affine decoder, a prior N(0, I) and a normal likelihood."""
    w, mu = _affine(subject)
    std = _noise(subject, options)

    @jax.jit
    def measure(state: PyTree, batch: Batch, key: Key[Array, ""]) -> Float[Array, " n"]:
        return linear.log_marginal(w, mu, std, batch.x.reshape(batch.x.shape[0], -1))

    found = over_images(subject, options, None, hooks.AT_ONCE, measure)
    values: dict[str, Any] = {"log_likelihood": mean_of(found)}
    if subject.split == "train" and options.images is None:
        values["maximum"] = _maximum(subject, options, w.shape[1])
    return Result(values, {"images": len(found), **_observation(options)})


def _affine(subject: Subject) -> tuple[Float[Array, "p d"], Float[Array, " p"]]:
    """Return W and mu of an affine decoder W z + mu.

    Raises:
        BadInput: the decoder is not affine, or the prior is not N(0, I).
    """
    run, state = subject.run, subject.state
    if run.experiment.plan.classes or len(run.experiment.plan.layers) > 1:
        raise BadInput("--metrics=exact needs one layer of codes and a decoder without classes.")
    decode, log_prior = (views.probe(run.method, name) for name in ("decode", "log_prior"))
    z = views.prior(run.method, state, jax.random.key(0), 8)
    if not jnp.allclose(log_prior(state, z[None])[0], priors.normal(z.shape[1]).log_prob(z)):
        raise BadInput("--metrics=exact needs the prior N(0, I); this method has another.")
    return linear.affine(lambda z: decode(state, z), z.shape[1])


def _maximum(subject: Subject, options: Options, q: int) -> float:
    """Compute the maximum of mean log p(x) over affine decoders: that of probabilistic PCA."""
    batches_ = list(batches(subject, options, None, hooks.AT_ONCE))
    x = np.concatenate([np.asarray(batch.x)[:valid] for batch, valid in batches_])
    covariance = np.cov(x.reshape(len(x), -1).astype(np.float64).T, bias=True)
    return float(linear.maximum_log_likelihood(jnp.asarray(np.linalg.eigvalsh(covariance)), q))


def needs(*names: str) -> Callable[[Subject, Options], None]:
    """Make a check that the method has these probes, and a likelihood if they need one."""

    def check(subject: Subject, options: Options) -> None:
        for name in names:
            own = options.observation_std is None
            if name in ("log_likelihood", "observe"):
                if own:
                    _has_likelihood(subject.run.method)
                name = "decode"
            views.probe(subject.run.method, name)

    return check


def check_parzen(subject: Subject, options: Options) -> None:
    """Raise BadInput if there is no validation split for the bandwidth, or no images."""
    if "validation" not in subject.run.dataset.splits:
        raise BadInput("--metrics=parzen needs a validation split, which this run was not given.")
    if len(subject.run.dataset.shape) != 3:
        raise BadInput("--metrics=parzen has bandwidths for pixels in [0, 1]; these are points.")


def check_exact(subject: Subject, options: Options) -> None:
    """Raise BadInput if log p(x) has no closed form."""
    _affine(subject)
    _noise(subject, options)


class _Annealing(NamedTuple):
    """Annealing on one batch: forward (key), and reverse (exact posterior codes, key)."""

    forward: Callable[[Key[Array, ""]], annealing.Annealed]
    reverse: Callable[[Float[Array, "c n d"], Key[Array, ""]], annealing.Annealed]


def _tuned(subject: Subject, options: Options) -> Callable[..., _Annealing]:
    """Return (state, batch, key) -> annealing in both directions.

    Step sizes come from a pilot run with the same number of chains.
    """
    codes = views.probe(subject.run.method, "codes")
    log_prior, log_likelihood = densities(subject, options)
    schedule = annealing.sigmoid_schedule(options.temperatures)

    def tuned(state: PyTree, batch: Batch, key: Key[Array, ""]) -> _Annealing:
        n, leapfrogs = batch.x.shape[0], options.leapfrogs

        def prior(z: Float[Array, "c n d"]) -> Float[Array, "c n"]:
            return log_prior(state, z)

        def likelihood(z: Float[Array, "c n d"]) -> Float[Array, "c n"]:
            return log_likelihood(state, batch, z)

        def start(key: Key[Array, ""]) -> Float[Array, "c n d"]:
            return codes(state, key, options.chains * n).reshape(options.chains, n, -1)

        steps = annealing.tune(prior, likelihood, start, key, schedule, leapfrogs)
        return _Annealing(
            lambda key: annealing.forward(
                prior, likelihood, start, key, schedule, steps, leapfrogs
            ),
            lambda z, key: annealing.reverse(prior, likelihood, z, key, schedule, steps, leapfrogs),
        )

    return tuned


def densities(subject: Subject, options: Options) -> tuple[Callable, Callable]:
    """Return (state, z) -> log p(z) and (state, batch, z) -> log p(x|z), of shape (k, n).

    Raises:
        BadInput: the method has no likelihood, and `observation_std` is not set.
    """
    method = subject.run.method
    log_prior = views.probe(method, "log_prior")
    if options.observation_std is None:
        _has_likelihood(method)
        return log_prior, method.probes["log_likelihood"]
    decode = _labelled_decode(subject)
    log_prob = likelihoods.normal(options.observation_std).log_prob

    def log_likelihood(state: PyTree, batch: Batch, z: Float[Array, "k n d"]) -> Array:
        k, n, _ = z.shape
        x = decode(state, z.reshape(k * n, -1), jnp.tile(batch.label, k))
        return jax.vmap(log_prob, (None, 0, None))({}, x.reshape(k, *batch.x.shape), batch.x)

    return log_prior, log_likelihood


def _labelled_decode(subject: Subject) -> Callable[..., Array]:
    """Return (state, z, label) -> E[x|z]; methods without classes ignore the label."""
    decode = views.probe(subject.run.method, "decode")
    if subject.run.experiment.plan.classes:
        return decode
    return lambda state, z, label: decode(state, z)


def _noise(subject: Subject, options: Options) -> Float[Array, " p"]:
    """Return the std of a normal p(x|z) for each value of x."""
    x = math.prod(subject.run.dataset.shape)
    if options.observation_std is not None:
        return jnp.full(x, options.observation_std)
    return jnp.broadcast_to(views.probe(subject.run.method, "noise")(subject.state).ravel(), x)


def _observe(subject: Subject, options: Options) -> Callable[..., Array]:
    """Return (state, key, z, label) -> x ~ p(x|z), with the likelihood of `densities`."""
    method = subject.run.method
    if options.observation_std is None:
        _has_likelihood(method)
        return method.probes["observe"]
    decode, normal = _labelled_decode(subject), likelihoods.normal(options.observation_std)
    return lambda state, key, z, label: normal.sample({}, key, decode(state, z, label))


def _has_likelihood(method: Method) -> None:
    if "log_likelihood" not in method.probes:
        raise BadInput(
            "--observation_std is missing: this method has no likelihood p(x|z); name the std of a "
            "normal one around its images."
        )


def _quartiles(values: Float[np.ndarray, " n"]) -> list[float]:
    return np.quantile(values, [0.25, 0.5, 0.75]).tolist()


def _is_score(subject: Subject, options: Options) -> bool:
    return subject.run.experiment.plan.score and options.observation_std is None


def _metric_name(subject: Subject, options: Options) -> str:
    """Return the metric's name, which is a score for a Bernoulli likelihood of grey values."""
    return "bernoulli_score" if _is_score(subject, options) else "log_likelihood"


def _score_note(subject: Subject, options: Options) -> dict[str, str]:
    note = "a Bernoulli's of values between 0 and 1: a score in nats, no log-probability"
    return {"p(x|z)": note} if _is_score(subject, options) else {}


def _bits(subject: Subject, options: Options, log_likelihood: float) -> dict[str, float]:
    """Return bits per dimension if x is discrete and p(x|z) is a probability mass, else {}."""
    plan, shape = subject.run.experiment.plan, subject.run.dataset.shape
    if plan.levels is None or options.observation_std is not None:
        return {}
    bits = bits_per_dimension(jnp.array([log_likelihood]), math.prod(shape))
    return {"bits_per_dimension": float(bits[0])}


def _annealing_protocol(options: Options, images: int) -> dict[str, Any]:
    return {
        "images": images,
        "chains": options.chains,
        "temperatures": options.temperatures,
        "schedule": "sigmoid, radius 4",
        "leapfrogs": options.leapfrogs,
        "step_sizes": "from a pilot run of as many chains with target 0.65, then fixed",
        **_observation(options),
    }


def _observation(options: Options) -> dict[str, Any]:
    std = options.observation_std
    return {} if std is None else {"observation_std": std}
