"""Parts of a config that several methods share: networks, optimizers, priors, averages."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from latentgen.configs.section import Section
from latentgen.core.errors import BadInput
from latentgen.core.schedules import is_zero
from latentgen.core.types import Method, Net, PyTree
from latentgen.core.wrappers import with_ema
from latentgen.networks import DECODERS, ENCODERS, MAPPINGS
from latentgen.networks.conv import halvings, widths
from latentgen.networks.mlp import ACTIVATIONS, INITS, WIDTHS
from latentgen.networks.net import bound_output
from latentgen.networks.norms import NORMS
from latentgen.probability import priors
from latentgen.probability.priors import LearnedPrior

Shape = tuple[int, ...]

CONVOLUTIONAL = ("conv", "resnet")
HALVING = (*CONVOLUTIONAL, "infogan")
"""Networks that halve an image once for each of `channels`."""

GENERAL = ("mlp", "twin", *CONVOLUTIONAL)
"""Networks with the options that `network` lists; others have those that their constructors name.
"""

DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Plan(NamedTuple):
    """A checked config, from which a method is made once the shape of the data is known.

    wire: (shape of one example) -> method
    compute: name of the dtype that networks compute in
    layers: code dimension of each stochastic layer; the decoder takes that of the first
    classes: number of classes of a conditional method; 0: unconditional
    levels: number of values of a pixel, for a discrete likelihood; else None
    score: True if p(x|z) is not normalized over x, such as a Bernoulli likelihood of grey values
    """

    wire: Callable[[Shape], Method]
    compute: str
    layers: tuple[int, ...]
    classes: int = 0
    levels: int | None = None
    score: bool = False


class Network(NamedTuple):
    """A network's section of the config, from which an encoder or a decoder is made.

    kind: name in ENCODERS or DECODERS
    options: keyword arguments of its constructor
    """

    section: Section
    kind: str
    options: dict[str, Any]

    def encoder(self, shape: Shape, outputs: int) -> Net:
        """Make a network from x, (n, *shape), to (n, outputs)."""
        if self.kind == "twin" and outputs % 2:
            raise BadInput(
                f"{self.section.key('network')}='twin' halves its outputs, of which there are "
                f"{outputs} here. Valid: {', '.join(sorted(set(ENCODERS) - {'twin'}))}."
            )
        return self._made(ENCODERS, shape, outputs=outputs)

    def decoder(self, shape: Shape) -> Net:
        """Make a network from codes, (n, d), to (n, *shape)."""
        return self._made(DECODERS, shape, shape)

    def generator(
        self, shape: Shape, within: tuple[float, float] | None, output: str = "sigmoid"
    ) -> Net:
        """Make a network from codes, (n, d), to x, (n, *shape), in the range of the data.

        Args:
            within: (least, largest) value of x; None if x is unbounded.
            output: name in `OUTPUTS` of the function that maps into the range.
        """
        net = self.decoder(shape)
        return net if within is None else bound_output(net, *within, output)

    def mapping(self) -> Net:
        """Make a network from codes, (n, d), to styles, (n, width); in float32."""
        options = {name: value for name, value in self.options.items() if name != "dtype"}
        try:
            return self.section.choose("network", MAPPINGS)(**options)
        except BadInput as error:
            raise BadInput(f"{self.section.key('network')}: {error}") from None

    @property
    def takes_class(self) -> bool:
        """True if the network has its own way of being conditioned on a class."""
        return "classes" in self.options

    def _made(
        self,
        constructors: Mapping[str, Callable[..., Net]],
        shape: Shape,
        *args: Any,
        **kwargs: Any,
    ) -> Net:
        options, make = dict(self.options), self.section.choose("network", constructors)
        key = self.section.key("channels" if self.kind in HALVING else "network")
        try:
            if widest := options.pop("widest", 0):
                options["channels"] = widths(shape, options.pop("width"), widest)
            elif self.kind in HALVING:
                halvings(shape, options["channels"])
            if self.kind not in GENERAL:  # it knows its own limits
                return make(*args, **kwargs, **options)
        except BadInput as error:
            raise BadInput(f"{key}: {error}") from None
        return make(*args, **kwargs, **options)


def network(
    root: Section,
    name: str,
    dtype: DTypeLike,
    kinds: Mapping[str, Callable[..., Net]],
    packing: int = 1,
    **given: int,
) -> Network:
    """Read and check the section `name` of a network.

    Args:
        dtype: dtype that the network computes in.
        kinds: valid networks: ENCODERS or DECODERS.
        packing: examples that are stacked into one input.
        given: `classes`, `code_dim`: for networks with parameters of these names.
    """
    section = root.section(name)
    make, kind = section.choose("network", kinds), section.word("network")
    if kind not in GENERAL:
        own = _own_options(section, make, given)
        _check_batch_norm(root, section, own.get("norm"), packing)
        return Network(section, kind, own | {"dtype": dtype})
    names: dict[str, Mapping[str, Any]] = {"activation": ACTIVATIONS, "norm": NORMS, "init": INITS}
    for key, valid in names.items():
        section.choose(key, valid)
    options: dict[str, Any] = {key: section.word(key) for key in names}
    _check_batch_norm(root, section, options["norm"], packing)
    options["dropout"] = section.number("dropout", low=0.0, high=0.99)
    hidden, channels = section.sizes("hidden"), section.sizes("channels")
    by_size = {name: section.size(name) for name in ("width", "widest") if section.has(name)}
    if kind not in CONVOLUTIONAL:
        return Network(section, kind, options | {"hidden": hidden, "dtype": dtype})
    if options["activation"] in WIDTHS:
        raise BadInput(
            f"{section.key('activation')}={options['activation']!r} does not fit network={kind!r}."
        )
    if not channels and len(by_size) < 2:
        raise BadInput(
            f"{section.key('channels')}=() must name at least one size, or the config must have "
            f"{section.key('width')} and {section.key('widest')}."
        )
    options |= {"dense": hidden, "channels": channels} | ({} if channels else by_size)
    return Network(section, kind, options | {"dtype": dtype})


def _check_batch_norm(root: Section, section: Section, norm: str | None, packing: int) -> None:
    """Refuse batch norm over a single input."""
    size, parts = root.size("batch_size"), root.size("microbatches")
    if norm == "batch" and size // packing // parts <= 1:
        among = f" in {parts} microbatches" if parts > 1 else ""
        raise BadInput(
            f"{section.key('norm')}='batch' needs more than one input in a batch, over which it "
            f"normalizes: from {root.key('batch_size')}={size}{among} this network gets one, of "
            "which nothing would be left."
        )


def _own_options(
    section: Section, make: Callable[..., Net], given: Mapping[str, int]
) -> dict[str, Any]:
    """Read the options of a network that its constructor's keyword-only parameters declare.

    Options that the config lacks have the constructor's defaults; those of other networks are
    ignored, so that `network` alone can be changed.
    """
    for name in ("hidden", "channels", "activation", "norm", "dropout", "init", "width", "widest"):
        if section.has(name):
            section.ignore(name)
    readers: dict[type, Callable[[str], Any]] = {
        bool: section.flag,
        int: lambda name: section.integer(name, low=0),
        float: lambda name: section.number(name, low=0.0),
        str: section.word,
        tuple: section.sizes,
    }
    options: dict[str, Any] = {}
    for name, parameter in inspect.signature(make).parameters.items():
        if name in given:
            options[name] = given[name]
        elif parameter.kind is parameter.KEYWORD_ONLY and type(parameter.default) in readers:
            read = readers[type(parameter.default)]
            options[name] = read(name) if section.has(name) else parameter.default
    return options


def _adam(section: Section, lr: Any) -> optax.GradientTransformation:
    return optax.adam(
        lr,
        b1=section.number("b1", low=0.0, high=0.9999),
        b2=section.number("b2", low=0.0, high=0.99999),
        eps=section.positive("eps"),
    )


def _adam_tensorflow(section: Section, lr: Any) -> optax.GradientTransformation:
    """Adam with epsilon before the bias correction, as in TensorFlow and Chainer.

    lr m / (sqrt(v) + eps) sqrt(1 - b2^t) / (1 - b1^t) in update t = 1, 2, ...

    Reference: Kingma & Ba 2015, end of section 2 (arXiv:1412.6980).
    """
    b1 = section.number("b1", low=0.0, high=0.9999)
    b2 = section.number("b2", low=0.0, high=0.99999)
    eps = section.positive("eps")

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, PyTree]:
        done = state[0].count
        corrected = optax.adam(lr, b1=b1, b2=b2, eps=eps / jnp.sqrt(1 - b2 ** (done + 1.0)))
        return corrected.update(updates, state, params)

    return optax.GradientTransformation(optax.adam(lr, b1=b1, b2=b2).init, update)


def _sgd(section: Section, lr: Any) -> optax.GradientTransformation:
    return optax.sgd(lr, momentum=section.number("momentum", low=0.0, high=0.9999))


def _rmsprop(section: Section, lr: Any) -> optax.GradientTransformation:
    return optax.rmsprop(
        lr, decay=section.number("b2", low=0.0, high=0.99999), eps=section.positive("eps")
    )


def _rmsprop_torch(section: Section, lr: Any) -> optax.GradientTransformation:
    """RMSProp as in PyTorch: lr g / (eps + sqrt(G)), G the running mean of g^2, from 0.

    With eps = 1 / batch size and g the mean over a batch, this is lr s / (1 + sqrt(S)) for the sum
    s over the batch. If the config has `std_rate`, the network of a twin encoder that gives the
    std has the learning rate std_rate lr.

    Reference: the code of Titsias & Ruiz 2019 (arXiv:1808.02078).
    """
    decay = section.number("b2", low=0.0, high=0.99999)
    tx = optax.rmsprop(lr, decay=decay, eps=section.positive("eps"), eps_in_sqrt=False)
    if not section.has("std_rate"):
        return tx
    std_rate = section.positive("std_rate")
    return optax.chain(tx, optax.masked(optax.scale(std_rate), _std_network_mask))


def _adam_norm_grad(section: Section, lr: Any) -> optax.GradientTransformation:
    """Adam of g / (|g| + 1e-7), each leaf of the gradient normalized on its own.

    Reference: the code of Tomczak & Welling 2018 (arXiv:1705.07120), AdamNormGrad.
    """
    normalized = lambda g: g / (jnp.linalg.norm(g) + 1e-7)  # noqa: E731
    normalize = optax.stateless(lambda updates, params: jax.tree.map(normalized, updates))
    return optax.chain(normalize, _adam(section, lr))


def _std_network_mask(params: Any) -> Any:
    """Return a mask of the leaves of a twin encoder's second network, which gives the std."""

    def in_std_network(path: tuple[Any, ...], leaf: Any) -> bool:
        names = [getattr(key, "key", None) for key in path]
        return "encoder" in names and "MLP_1" in names

    return jax.tree_util.tree_map_with_path(in_std_network, params)


OPTIMIZERS: dict[str, Callable[[Section, Any], optax.GradientTransformation]] = {
    "adam": _adam,
    "adam_norm_grad": _adam_norm_grad,
    "adam_tensorflow": _adam_tensorflow,
    "rmsprop": _rmsprop,
    "rmsprop_torch": _rmsprop_torch,
    "sgd": _sgd,
}


def _constant(lr: Any, steps: int) -> Any:
    return lr


def _cosine(lr: Any, steps: int) -> optax.Schedule:
    return optax.cosine_decay_schedule(lr, steps)


def _linear(lr: Any, steps: int) -> optax.Schedule:
    return optax.linear_schedule(lr, 0.0, steps)


def _burda(lr: Any, steps: int) -> optax.Schedule:
    """lr 10^(-i/7) in stage i = 0, ..., 7, which lasts 3^i / 3280 of the run.

    Reference: Burda et al. 2015, section 5 (arXiv:1509.00519).
    """
    ends = [round(steps * sum(3**j for j in range(i + 1)) / 3280) for i in range(7)]
    return lambda step: lr * 10.0 ** (-(step >= jnp.array(ends)).sum() / 7)


def _staircase(lr: Any, steps: int) -> optax.Schedule:
    """lr 0.9^i in stage i = 0, 1, ..., each of which lasts 15,000 / 400,000 of the run.

    Reference: the code of Titsias & Ruiz 2019 (arXiv:1808.02078).
    """
    length = max(1, round(steps * 15_000 / 400_000))
    return lambda step: lr * 0.9 ** (step // length)


SCHEDULES: dict[str, Callable[[Any, int], Any]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "burda": _burda,
    "staircase": _staircase,
}
"""Name -> (learning rate, steps of the run) -> the rate, or a function step -> rate. cosine and
linear end at 0."""


def optimizer(section: Section, steps: int) -> optax.GradientTransformation:
    """Make the section's optimizer, after clipping to the global norm `clip_norm` (0: no clipping).

    Args:
        steps: number of updates in the run, the length of the learning rate's `schedule`.
    """
    # All are checked and an optimizer uses some: a config may change the optimizer by name alone.
    for name in ("b1", "b2", "momentum", "eps"):
        section.number(name)
    limit = section.number_or_off("clip_norm")
    lr = _learning_rate(section, steps)
    tx = section.choose("name", OPTIMIZERS)(section, lr)
    if is_zero(limit):
        return tx
    return optax.chain(optax.clip_by_global_norm(limit), tx)


def _learning_rate(section: Section, steps: int) -> Any:
    """Return the learning rate: a number, or a function of the updates done."""
    over_steps = section.choose("schedule", SCHEDULES)
    if not section.is_scheduled("lr"):
        return over_steps(section.positive("lr"), steps)
    if (name := section.word("schedule")) != "constant":
        raise BadInput(
            f"{section.key('schedule')}={name!r} must be 'constant' where {section.key('lr')} is "
            "itself a schedule."
        )
    return section.number("lr", low=0.0)


def prior_of(
    method: Section, learned: Mapping[str, Callable[..., LearnedPrior]]
) -> Callable[..., LearnedPrior]:
    """Return the constructor of the config's prior: (code dimension, ...) -> `LearnedPrior`.

    Fixed priors ignore all arguments but the dimension.

    Args:
        learned: name -> constructor, in addition to the fixed `priors.PRIORS`.
    """
    if (name := method.word("prior")) in learned:
        return learned[name]
    make = method.choose("prior", priors.PRIORS | dict.fromkeys(learned, priors.normal))
    return lambda dim, *_: priors.fixed(make(dim))


def average(
    root: Section,
    method: Section,
    players: tuple[str, ...],
    draws: int = 1,
    copied: tuple[str, ...] = (),
) -> Callable[[Method], Method]:
    """Return the wrapper method -> method that averages these players' parameters.

    With `ema_images` the decay is 0.5^(n / h) for n images a step and a half-life of h =
    min(ema_images, ema_rampup images seen) images, as StyleGAN2 and R3GAN have it. Each number of
    `ema_more` is a further average: below 1 its decay in a step, else its half-life in images.

    Args:
        draws: minibatches of one step.
        copied: players whose stats are not averaged.
    """
    decay = method.number("ema_decay", low=0.0, high=1.0)
    start = method.integer("ema_start", low=0)
    half_life = method.number("ema_images", low=0.0)
    rampup = method.number("ema_rampup", low=0.0)
    a_step = draws * root.size("batch_size")
    more = [
        number if number < 1 else partial(_decay_by_images, a_step, number, 0.0)
        for number in method.numbers("ema_more")
    ]
    if not is_zero(half_life):
        decay = partial(_decay_by_images, a_step, half_life, rampup)
    elif is_zero(decay):
        if more:
            raise BadInput(
                f"{method.key('ema_more')} names averages beside the one that is sampled, of which "
                f"there is none: {method.key('ema_decay')} and {method.key('ema_images')} are 0."
            )
        return lambda unwrapped: unwrapped
    return partial(with_ema, names=players, decay=decay, start=start, more=more, copied=copied)


def _decay_by_images(
    a_step: int, half_life: float | Array, rampup: float | Array, step: Int[Array, ""]
) -> Float[Array, ""]:
    """Return 0.5^(images of a step / half-life) before the update after `step` others."""
    seen = step.astype(jnp.float32) * a_step
    half: Any = half_life
    if not is_zero(rampup):
        half = jnp.minimum(half, seen * rampup)
    return jnp.float32(0.5) ** (a_step / jnp.maximum(half, 1e-8))
