"""The config of a VAE: which parts it has, and whether they fit together."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.configs.components import (
    DTYPES,
    Network,
    Plan,
    Shape,
    average,
    network,
    optimizer,
    prior_of,
)
from latentgen.configs.section import Section
from latentgen.core.errors import BadInput
from latentgen.core.schedules import is_zero
from latentgen.core.types import Method, Net
from latentgen.data.preprocess import PREPROCESS, Preprocess
from latentgen.methods.vae import Model, Objective, vae
from latentgen.networks import DECODERS, ENCODERS, made, mlp
from latentgen.objectives.bounds import BOUNDS, check_groups
from latentgen.objectives.elbo import kl_warmup
from latentgen.objectives.estimators import ESTIMATORS
from latentgen.probability import likelihoods, posteriors, priors
from latentgen.probability.likelihoods import Likelihood
from latentgen.probability.posteriors import PosteriorFamily
from latentgen.probability.priors import LearnedPrior

LEARNED = ("encoder", "decoder", "prior", "posterior", "likelihood")


def vae_of(root: Section, method: Section, preprocess: Preprocess) -> Plan:
    """The VAE that a config describes."""
    dtype = root.choose("compute", DTYPES)
    code = _code(root, method, dtype)
    likelihood = likelihood_of(method, preprocess)
    objective = _objective(method, code)
    beta = kl_warmup(method.number("beta", low=0.0), method.integer("warmup_steps", low=0))
    tx = optimizer(root.section("optimizer"), root.integer("steps", low=1))
    encoder = network(root, "encoder", dtype, ENCODERS)
    decoder = network(root, "decoder", dtype, DECODERS)
    averaged = average(root, method, LEARNED)
    if code.prior_name in VAMPS:
        _check_vamp(method, encoder)
    if method.word("estimator") == "dreg" and decoder.options.get("norm") == "batch":
        raise BadInput(
            f"{method.key('estimator')}='dreg' does not fit config.decoder.norm='batch': it lets "
            "codes see each other, which the estimator rules out. Valid: layer, none."
        )
    if encoder.kind == "twin" and not code.posterior_name.startswith("diagonal"):
        raise BadInput(
            f"{method.key('posterior')}={code.posterior_name!r} does not fit config.encoder."
            "network='twin', which gives mean and std. Valid: diagonal, diagonal_softplus."
        )

    def wire(shape: Shape) -> Method:
        *rest, last = shape
        seen = likelihood(shape)
        model = Model(
            encoder=encoder.encoder((*rest, last + code.classes), code.posterior.outputs),
            decoder=decoder.decoder((*rest, last * seen.features)),
            prior=code.prior(shape, preprocess.range),
            posterior=code.posterior,
            likelihood=seen,
            code_dim=code.dim + code.second,
            decoder_sees=code.dim,
            classes=code.classes,
        )
        return averaged(vae(model, objective, beta, tx, shape))

    layers = (code.dim, *filter(None, (code.second,)))
    levels, score = levels_of(likelihood((1,)), preprocess)
    return Plan(wire, root.word("compute"), layers, code.classes, levels, score)


class _Code(NamedTuple):
    """p(z) and q(z|x), as the config has them; `second` counts a second layer's coordinates."""

    dim: int
    second: int
    classes: int
    prior_name: str
    prior: Callable[[Shape, tuple[float, float] | None], LearnedPrior]
    posterior_name: str
    posterior: PosteriorFamily


def _mixture(dim: int, components: int, shape: Shape, bounds: Any) -> LearnedPrior:
    return priors.mixture(dim, components)


def _vamp(dim: int, components: int, shape: Shape, bounds: Any) -> LearnedPrior:
    return priors.vamp(dim, components, shape, *(bounds or (None, None)))


def _vamp_clipped(dim: int, components: int, shape: Shape, bounds: Any) -> LearnedPrior:
    low, high = bounds or (None, None)
    return priors.vamp(dim, components, shape, low, high, clipped=True)


LEARNED_PRIORS: dict[str, Callable[..., LearnedPrior]] = {
    "mixture": _mixture,
    "vamp": _vamp,
    "vamp_clipped": _vamp_clipped,
}
VAMPS = ("vamp", "vamp_clipped")
FULLEST = 1024


def _code(root: Section, method: Section, dtype: DTypeLike) -> _Code:
    dim = method.size("code_dim")
    second = method.size("second_code_dim", low=0)
    classes = method.size("classes", low=0)
    components = method.size("components")
    steps = method.size("flow_steps")
    inner = network(root, "code_network", dtype, {"mlp": mlp.encoder})
    if method.word("posterior") == "full" and dim > FULLEST:
        raise BadInput(
            f"{method.key('code_dim')}={dim} must be at most {FULLEST} for "
            f"{method.key('posterior')}='full', which has a number for each pair of coordinates."
        )
    make_prior, prior_name = prior_of(method, LEARNED_PRIORS), method.word("prior")
    posterior_name = method.word("posterior")
    families = posteriors.POSTERIORS | {"flow": posteriors.diagonal}
    make_posterior = method.choose("posterior", families)

    _check_prior(method, prior_name, posterior_name, classes, second)
    between = [_between(inner, inputs, outputs) for inputs, outputs in
               ((dim, 2 * second), (second, 2 * dim))] if second else []  # fmt: skip

    def prior(shape: Shape, bounds: tuple[float, float] | None) -> LearnedPrior:
        if not second:
            return make_prior(dim, components, shape, bounds)
        top = make_prior(second, components, shape, bounds)
        return priors.two_layers(dim, second, between[1], top)

    if second:
        posterior = posteriors.two_layers(dim, second, between[0])
    elif posterior_name == "flow":
        posterior = _flow(inner, dim, steps)
    else:
        posterior = make_posterior(dim)
    return _Code(
        dim=dim,
        second=second,
        classes=classes,
        prior_name=prior_name,
        prior=prior,
        posterior_name=posterior_name,
        posterior=posterior,
    )


def _check_prior(method: Section, prior: str, posterior: str, classes: int, second: int) -> None:
    """Check that prior, posterior, labels and layers of codes fit together."""
    key = method.key("prior")
    if prior == "uniform" and (posterior != "squashed" or second):
        raise BadInput(
            f"{key}='uniform' is 0 outside a cube that {method.key('posterior')}={posterior!r} "
            "leaves. Valid: squashed, with one layer of codes."
        )
    if posterior == "squashed" and prior not in ("uniform", *VAMPS):
        raise BadInput(
            f"{method.key('posterior')}='squashed' never leaves a cube that {key}={prior!r} does. "
            "Valid: uniform, vamp, vamp_clipped."
        )
    if prior in VAMPS and posterior == "flow":
        raise BadInput(
            f"{key}={prior!r} asks {method.key('posterior')}='flow' for every pair of a code and a "
            "pseudo-input, each an inversion. Valid: diagonal, diagonal_softplus, full, squashed."
        )
    if prior in VAMPS and (classes or second):
        name, value = ("classes", classes) if classes else ("second_code_dim", second)
        raise BadInput(
            f"{key}={prior!r} has pseudo-inputs without labels and one layer of codes, so that "
            f"{method.key(name)}={value} must be 0."
        )
    if second and posterior != "diagonal":
        raise BadInput(
            f"{method.key('posterior')}={posterior!r} does not fit two layers of codes "
            f"({method.key('second_code_dim')}={second}). Valid: diagonal."
        )


def _check_vamp(method: Section, encoder: Network) -> None:
    """Check that the encoder treats pseudo-inputs and training images alike.

    Batch norm would normalize images by minibatch statistics and pseudo-inputs by running averages,
    and dropout would apply to images only: the prior would not mix the posteriors being trained.
    """
    for name, valid in (("norm", ("none", "layer")), ("dropout", (0.0,))):
        if encoder.options.get(name, valid[0]) not in valid:
            raise BadInput(
                f"{encoder.section.key(name)}={encoder.options[name]!r} does not fit "
                f"{method.key('prior')}='vamp', whose pseudo-inputs meet the encoder as it is "
                f"evaluated. Valid: {', '.join(map(str, valid))}."
            )


def _between(inner: Network, inputs: int, outputs: int) -> Net:
    _plain(inner)
    return inner.encoder((inputs,), outputs)


def _flow(inner: Network, dim: int, steps: int) -> PosteriorFamily:
    _plain(inner, ("none",))
    context = dim  # as many numbers as there are coordinates tell every step of the flow about x
    if not inner.options["hidden"]:
        raise BadInput(f"{inner.section.key('hidden')}=() must name at least one size for a flow.")
    net = made.made(inner.options["hidden"], inner.options["activation"])
    return posteriors.inverse_autoregressive(dim, net, steps, context)


def _plain(inner: Network, norms: tuple[str, ...] = ("none", "layer")) -> None:
    """The network within the code is asked for densities, so that nothing in it may be random."""
    for name, valid in (("norm", norms), ("dropout", (0.0,))):
        if inner.options[name] not in valid:
            raise BadInput(
                f"{inner.section.key(name)}={inner.options[name]!r} does not fit the network "
                f"within the code. Valid: {', '.join(map(str, valid))}."
            )


def _objective(method: Section, code: _Code) -> Objective:
    samples, group = method.size("samples"), method.size("group")
    share = method.number("share", low=0.0, high=1.0)
    bound_name, estimator_name = method.word("bound"), method.word("estimator")
    bound = method.choose("bound", BOUNDS)(samples, group, share)
    estimator = method.choose("estimator", ESTIMATORS)
    closed = method.choose("kl", {"closed": True, "sampled": False})
    free = method.number("free_nats", low=0.0)
    if bound_name in ("miwae", "piwae"):
        try:
            check_groups(samples, group)
        except BadInput as error:
            raise BadInput(f"{method.key('bound')}={bound_name!r}: {error}") from None
    if code.posterior_name == "squashed" and estimator_name != "pathwise":
        raise BadInput(
            f"{method.key('estimator')}={estimator_name!r} asks for the density at a code, which "
            f"{method.key('posterior')}='squashed' loses to rounding at the cube's faces. "
            "Valid: pathwise."
        )
    if estimator_name == "stl" and bound_name != "elbo":
        raise BadInput(
            f"{method.key('estimator')}='stl' is biased for {method.key('bound')}={bound_name!r} "
            "(Tucker et al. 2018). Valid: dreg, pathwise."
        )
    if closed:
        _check_closed(method, code, bound_name, estimator_name)
    if not is_zero(free) and bound_name != "elbo":
        raise BadInput(
            f"{method.shown('free_nats')} does not fit {method.key('bound')}={bound_name!r}. "
            "Valid: elbo."
        )
    return Objective(samples, bound, estimator, closed, free)


def _check_closed(method: Section, code: _Code, bound: str, estimator: str) -> None:
    fits = {
        "bound": (bound, ("elbo",)),
        "estimator": (estimator, ("pathwise",)),
        "prior": (code.prior_name, ("normal",)),
        "posterior": (code.posterior_name, ("diagonal", "diagonal_softplus", "full")),
        "second_code_dim": (code.second, (0,)),
    }
    for name, (value, valid) in fits.items():
        if value not in valid:
            raise BadInput(
                f"{method.key('kl')}='closed' does not fit {method.key(name)}={value!r}. "
                f"Valid: {', '.join(map(str, valid))}; or {method.key('kl')}='sampled'."
            )


def levels_of(likelihood: Likelihood, preprocess: Preprocess) -> tuple[int | None, bool]:
    """Return the levels that p(x|z) and x share, else None; and whether p(x|z) scores other x."""
    same = likelihood.levels == preprocess.levels
    return likelihood.levels if same else None, likelihood.levels is not None and not same


class LikelihoodOptions(NamedTuple):
    """Options of a likelihood p(x|z).

    shape: of x
    std, floor: `method.std`, and `method.std_floor` of a learned one
    low, high: range of x
    """

    shape: Shape
    std: float | Float[Array, ""]
    floor: float | Float[Array, ""]
    low: float
    high: float


LIKELIHOODS: dict[str, Callable[[LikelihoodOptions], Likelihood]] = {
    "bernoulli": lambda o: likelihoods.bernoulli(),
    "normal": lambda o: likelihoods.normal(o.std),
    "normal_learned": lambda o: likelihoods.normal_learned(o.std, o.floor),
    "normal_per_pixel": lambda o: likelihoods.normal_per_pixel(o.shape, o.std, o.floor),
    "discretized_logistic": lambda o: likelihoods.discretized_logistic(o.low, o.high),
    "categorical": lambda o: likelihoods.categorical(o.low, o.high),
}
"""Likelihoods by name."""


def likelihood_of(method: Section, preprocess: Preprocess) -> Callable[[Shape], Likelihood]:
    """shape of x -> the likelihood p(x|z) that a config describes.

    Raises:
        BadInput: it does not fit what preprocessing makes of the data.
    """
    std, floor = (method.positive(n, fixed=True) for n in ("std", "std_floor"))
    low, high = preprocess.range or (0.0, 1.0)
    make, name = method.choose("likelihood", LIKELIHOODS), method.word("likelihood")
    learned = name in ("normal_learned", "normal_per_pixel")
    if learned and isinstance(std, int | float) and isinstance(floor, int | float) and std <= floor:
        raise BadInput(
            f"{method.key('std')}={std} must be above {method.key('std_floor')}={floor}: it is "
            "where a learned std starts."
        )
    fits = partial(_fits, method, name, preprocess)
    if name == "bernoulli":
        fits("x in [0, 1]", lambda p: p.range == (0.0, 1.0))
    if name in ("discretized_logistic", "categorical"):
        fits("x with 256 levels", lambda p: p.levels == 256)
    return lambda shape: make(LikelihoodOptions(shape, std, floor, low, high))


def _fits(
    method: Section,
    name: str,
    preprocess: Preprocess,
    need: str,
    suits: Callable[[Preprocess], bool],
) -> None:
    if not suits(preprocess):
        fitting = ", ".join(sorted(n for n, p in PREPROCESS.items() if suits(p)))
        raise BadInput(
            f"{method.key('likelihood')}={name!r} needs {need}; config.data.preprocess="
            f"{preprocess.name!r} does not give that. Valid: {fitting}."
        )
