"""What the configs of all methods share: networks, optimizers, averages."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from latentgen.configs.section import Section
from latentgen.core.errors import BadInput
from latentgen.core.types import Method, Net
from latentgen.core.wrappers import with_ema
from latentgen.networks import DECODERS, ENCODERS
from latentgen.networks.conv import halvings
from latentgen.networks.mlp import ACTIVATIONS, INITS, WIDTHS
from latentgen.networks.net import bound_output
from latentgen.networks.norms import NORMS
from latentgen.probability import priors
from latentgen.probability.priors import LearnedPrior

Shape = tuple[int, ...]

CONVOLUTIONAL = ("conv", "resnet")

DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Plan(NamedTuple):
    """A method to be made.

    wire: (shape of one example) -> the method
    classes: how many labels it tells apart; 0: it looks at none
    levels: as many values of x as its likelihood gives probabilities to; None where it has none
    compute: the dtype that its networks compute in
    layers: coordinates of the code, of each stochastic layer; the decoder sees the first
    score: whether p(x|z) is no probability of x but a score, as a Bernoulli's of grey values is
    """

    wire: Callable[[Shape], Method]
    compute: str
    layers: tuple[int, ...]
    classes: int = 0
    levels: int | None = None
    score: bool = False


class Network(NamedTuple):
    """A network's part of the config, to be made an encoder of x or a decoder into x."""

    section: Section
    kind: str
    options: dict[str, Any]

    def encoder(self, shape: Shape, outputs: int) -> Net:
        """A network from x of this shape to (n, outputs)."""
        if self.kind == "twin" and outputs % 2:
            raise BadInput(
                f"{self.section.key('network')}='twin' halves its outputs, of which there are "
                f"{outputs} here. Valid: {', '.join(sorted(set(ENCODERS) - {'twin'}))}."
            )
        return self._made(ENCODERS, shape)(outputs=outputs, **self.options)

    def decoder(self, shape: Shape) -> Net:
        """A network from codes to x of this shape, or to what makes it."""
        return self._made(DECODERS, shape)(shape, **self.options)

    def generator(
        self, shape: Shape, within: tuple[float, float] | None, output: str = "sigmoid"
    ) -> Net:
        """A network from codes to x itself, in the range of x where it has one.

        Args:
            output: what holds it there, of `OUTPUTS`.
        """
        net = self.decoder(shape)
        return net if within is None else bound_output(net, *within, output)

    def _made(self, makers: Mapping[str, Callable[..., Net]], shape: Shape) -> Callable[..., Net]:
        try:
            if self.kind in CONVOLUTIONAL:
                halvings(shape, self.options["channels"])
        except BadInput as error:
            raise BadInput(f"{self.section.key('channels')}: {error}") from None
        return self.section.choose("network", makers)


def network(
    root: Section,
    name: str,
    dtype: DTypeLike,
    kinds: Mapping[str, Callable[..., Net]],
    packing: int = 1,
) -> Network:
    """The network that the section `name` describes.

    Args:
        kinds: the networks that may stand there: ENCODERS or DECODERS.
        packing: examples that it sees as one.
    """
    section = root.section(name)
    section.choose("network", kinds)
    kind = section.word("network")
    names: dict[str, Mapping[str, Any]] = {"activation": ACTIVATIONS, "norm": NORMS, "init": INITS}
    for key, valid in names.items():
        section.choose(key, valid)
    options: dict[str, Any] = {key: section.word(key) for key in names}
    if options["norm"] == "batch" and root.size("batch_size") // packing == 1:
        raise BadInput(
            f"{section.key('norm')}='batch' needs more than one input in a batch, over which it "
            f"normalizes: from {root.key('batch_size')}={root.size('batch_size')} this network "
            "gets one, of which nothing would be left."
        )
    options["dropout"] = section.number("dropout", low=0.0, high=0.99)
    hidden, channels = section.sizes("hidden"), section.sizes("channels")
    if kind not in CONVOLUTIONAL:
        return Network(section, kind, options | {"hidden": hidden, "dtype": dtype})
    if options["activation"] in WIDTHS:
        raise BadInput(
            f"{section.key('activation')}={options['activation']!r} does not fit network={kind!r}."
        )
    if not channels:
        raise BadInput(f"{section.key('channels')}=() must name at least one size.")
    options |= {"dense": hidden, "channels": channels}
    return Network(section, kind, options | {"dtype": dtype})


def _adam(section: Section, lr: Any) -> optax.GradientTransformation:
    return optax.adam(
        lr,
        b1=section.number("b1", low=0.0, high=0.9999),
        b2=section.number("b2", low=0.0, high=0.99999),
        eps=section.positive("eps"),
    )


def _sgd(section: Section, lr: Any) -> optax.GradientTransformation:
    return optax.sgd(lr, momentum=section.number("momentum", low=0.0, high=0.9999))


def _rmsprop(section: Section, lr: Any) -> optax.GradientTransformation:
    return optax.rmsprop(
        lr, decay=section.number("b2", low=0.0, high=0.99999), eps=section.positive("eps")
    )


def _rmsprop_torch(section: Section, lr: Any) -> optax.GradientTransformation:
    """lr g / (eps + sqrt(G)), G the running mean of g^2, from 0: as PyTorch has it.

    With eps = 1 / batch size and g a batch's mean it is g / (1 + sqrt(G)) of the batch's sum. The
    net that a twin encoder finds the std with learns at the share `std_rate` of lr, where the
    config has that key.

    Reference: the code of Titsias & Ruiz 2019 (arXiv:1808.02078).
    """
    decay = section.number("b2", low=0.0, high=0.99999)
    made = optax.rmsprop(lr, decay=decay, eps=section.positive("eps"), eps_in_sqrt=False)
    if not section.has("std_rate"):
        return made
    share = section.positive("std_rate")
    return optax.chain(made, optax.masked(optax.scale(share), _finds_std))


def _adam_norm_grad(section: Section, lr: Any) -> optax.GradientTransformation:
    """Adam of g / (|g| + 1e-7), each array of the gradient by itself.

    Reference: the code of Tomczak & Welling 2018 (arXiv:1705.07120), AdamNormGrad.
    """
    unit = lambda g: g / (jnp.linalg.norm(g) + 1e-7)  # noqa: E731
    of_one_length = optax.stateless(lambda updates, params: jax.tree.map(unit, updates))
    return optax.chain(of_one_length, _adam(section, lr))


def _finds_std(params: Any) -> Any:
    """Return a mask of the leaves of a twin encoder's second network, which gives the std."""

    def inside(path: tuple[Any, ...], leaf: Any) -> bool:
        words = [getattr(key, "key", None) for key in path]
        return "encoder" in words and "MLP_1" in words

    return jax.tree_util.tree_map_with_path(inside, params)


OPTIMIZERS: dict[str, Callable[[Section, Any], optax.GradientTransformation]] = {
    "adam": _adam,
    "adam_norm_grad": _adam_norm_grad,
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
    """lr 10^(-i/7) during stage i = 0, ..., 7, which lasts 3^i / 3280 of the run.

    Reference: Burda et al. 2015, section 5 (arXiv:1509.00519).
    """
    ends = [round(steps * sum(3**j for j in range(i + 1)) / 3280) for i in range(7)]
    return lambda step: lr * 10.0 ** (-(step >= jnp.array(ends)).sum() / 7)


def _staircase(lr: Any, steps: int) -> optax.Schedule:
    """lr 0.9^i during stage i, which lasts 15,000 / 400,000 of the run.

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
"""(learning rate, steps of the run) -> the rate, or step -> the rate.

cosine and linear end at 0."""


def optimizer(section: Section, steps: int) -> optax.GradientTransformation:
    """Build the section's optimizer; gradients are clipped to global norm `clip_norm` (0: never).

    Args:
        steps: number of updates in the run, over which a schedule is spread.
    """
    # Each reads what it needs, so that a config may switch between optimizers by name alone.
    for name in ("b1", "b2", "momentum", "eps"):
        section.number(name)
    lr = section.choose("schedule", SCHEDULES)(section.positive("lr"), steps)
    made = section.choose("name", OPTIMIZERS)(section, lr)
    limit = section.number("clip_norm", low=0.0)
    if isinstance(limit, int | float) and limit == 0:
        return made
    return optax.chain(optax.clip_by_global_norm(limit), made)


def prior_of(
    method: Section, learned: Mapping[str, Callable[..., LearnedPrior]]
) -> Callable[..., LearnedPrior]:
    """The maker of the prior that a config names: fixed ones take the code's dimension alone.

    Args:
        learned: name -> maker, beside `priors.PRIORS`.
    """
    if (name := method.word("prior")) in learned:
        return learned[name]
    make = method.choose("prior", priors.PRIORS | dict.fromkeys(learned, priors.normal))
    return lambda dim, *_: priors.fixed(make(dim))


def average(method: Section, players: tuple[str, ...]) -> Callable[[Method], Method]:
    """The moving average of these players, as a wrapper."""
    decay = method.number("ema_decay", low=0.0, high=1.0)
    start = method.integer("ema_start", low=0)
    if isinstance(decay, int | float) and decay == 0:
        return lambda made: made
    return partial(with_ema, names=players, decay=decay, start=start)
