"""From a config to what it describes: the only reader of configs.

`experiment` checks every key before anything is loaded or written; `Experiment.wire` then makes
the method for data of a given shape. Hyperparameters may be traced, so that a population shares
one compilation.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.config import Section
from latentgen.core.types import Method, Net
from latentgen.core.wrappers import with_ema
from latentgen.data.preprocess import PREPROCESS, Preprocess
from latentgen.errors import BadInput
from latentgen.methods.gan import gan
from latentgen.methods.vae import vae
from latentgen.networks import DECODERS, ENCODERS
from latentgen.networks.conv import halvings
from latentgen.networks.mlp import ACTIVATIONS, INITS
from latentgen.networks.norms import NORMS
from latentgen.objectives.adversarial import GAMES
from latentgen.objectives.elbo import kl_warmup
from latentgen.probability import likelihoods
from latentgen.probability.priors import PRIORS

Shape = tuple[int, ...]
Wire = Callable[[Shape], Method]

DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Data(NamedTuple):
    """Which data set, and how it is seen.

    validation: examples held out from the end of the training split; None: the set's default.
    """

    name: str
    preprocess: Preprocess
    validation: int | None


class Every(NamedTuple):
    """Steps between two lines of the log, validations, pictures and checkpoints."""

    log: int
    validate: int
    sample: int
    checkpoint: int


class Experiment(NamedTuple):
    """What a config describes."""

    seed: int
    steps: int
    batch_size: int
    data: Data
    every: Every
    wire: Wire


def experiment(config: Mapping[str, Any]) -> Experiment:
    """Reads and checks a whole config.

    Raises:
        BadInput: a key is missing, unknown, or holds what it cannot.
    """
    root = Section("config", config)
    data = _data(root.section("data"))
    method = root.section("method")
    found = Experiment(
        seed=root.integer("seed", low=0, high=2**32 - 1),
        steps=root.integer("steps", low=1),
        batch_size=root.integer("batch_size", low=1),
        data=data,
        every=_every(root.section("every")),
        wire=method.choose("name", METHODS)(root, method, data.preprocess),
    )
    root.finish()
    return found


def make(
    config: Mapping[str, Any], shape: Shape
) -> Callable[[Mapping[str, Float[Array, ""] | float]], Method]:
    """hyperparameters -> the method of `config` with these in place of its own.

    Args:
        config: see `experiment`.
        shape: of one example.

    Raises:
        BadInput: as for `experiment`; the made function raises it for a hyperparameter that is
            not a number with a fraction in the config, since others shape the program.
    """

    def method(hypers: Mapping[str, Float[Array, ""] | float]) -> Method:
        replaced: Mapping[str, Any] = config
        for key, value in hypers.items():
            replaced = _replace(replaced, key, key.split("."), value)
        return experiment(replaced).wire(shape)

    return method


def _replace(values: Mapping[str, Any], key: str, path: list[str], new: Any) -> Mapping[str, Any]:
    name, *rest = path
    if rest and isinstance(values.get(name), Mapping):
        return {**values, name: _replace(values[name], key, rest, new)}
    if rest or not isinstance(values.get(name), float):
        raise BadInput(f"hyperparameter {key!r} must be a key of the config with a float value.")
    return {**values, name: new}


def _data(section: Section) -> Data:
    return Data(
        section.word("name"),
        section.choose("preprocess", PREPROCESS),
        section.integer_or_none("validation", low=0),
    )


def _every(section: Section) -> Every:
    every = Every(*(section.integer(name, low=1) for name in Every._fields))
    for name, value in zip(Every._fields, every, strict=True):
        if value % every.log:
            raise BadInput(
                f"{section.key(name)}={value} must be a multiple of "
                f"{section.key('log')}={every.log}."
            )
    return every


class _Network(NamedTuple):
    """A network's part of the config, to be made an encoder of x or a decoder into x."""

    section: Section
    kind: str
    options: dict[str, Any]

    def encoder(self, shape: Shape, outputs: int) -> Net:
        self._fit(shape)
        return ENCODERS[self.kind](outputs=outputs, **self.options)

    def decoder(self, shape: Shape) -> Net:
        self._fit(shape)
        return DECODERS[self.kind](shape, **self.options)

    def _fit(self, shape: Shape) -> None:
        try:
            if self.kind == "conv":
                halvings(shape, self.options["channels"])
        except BadInput as error:
            raise BadInput(f"{self.section.key('channels')}: {error}") from None


def _network(root: Section, name: str, dtype: DTypeLike) -> _Network:
    section = root.section(name)
    section.choose("network", ENCODERS)
    kind = section.word("network")
    names: dict[str, Mapping[str, Any]] = {"activation": ACTIVATIONS, "norm": NORMS, "init": INITS}
    for key, valid in names.items():
        section.choose(key, valid)
    options: dict[str, Any] = {key: section.word(key) for key in names}
    options["dropout"] = section.number("dropout", low=0.0, high=0.99)
    hidden, channels = section.sizes("hidden"), section.sizes("channels")
    options |= {"dense": hidden, "channels": channels} if kind == "conv" else {"hidden": hidden}
    if kind == "conv" and not channels:
        raise BadInput(f"{section.key('channels')}=() must name at least one size.")
    return _Network(section, kind, options | {"dtype": dtype})


def _adam(section: Section) -> optax.GradientTransformation:
    return optax.adam(
        section.positive("lr"),
        b1=section.number("b1", low=0.0, high=0.9999),
        b2=section.number("b2", low=0.0, high=0.99999),
    )


def _sgd(section: Section) -> optax.GradientTransformation:
    return optax.sgd(
        section.positive("lr"), momentum=section.number("momentum", low=0.0, high=0.9999)
    )


def _rmsprop(section: Section) -> optax.GradientTransformation:
    return optax.rmsprop(section.positive("lr"), decay=section.number("b2", low=0.0, high=0.99999))


OPTIMIZERS: dict[str, Callable[[Section], optax.GradientTransformation]] = {
    "adam": _adam,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}


def _optimizer(section: Section) -> optax.GradientTransformation:
    # Each reads what it needs, so that a config may switch between optimizers by name alone.
    for name in ("b1", "b2", "momentum"):
        section.number(name)
    return section.choose("name", OPTIMIZERS)(section)


def _average(method: Section, players: tuple[str, ...]) -> Callable[[Method], Method]:
    decay = method.number("ema_decay", low=0.0, high=1.0)
    start = method.integer("ema_start", low=0)
    if isinstance(decay, int | float) and decay == 0:
        return lambda made: made
    return partial(with_ema, names=players, decay=decay, start=start)


def _vae(root: Section, method: Section, preprocess: Preprocess) -> Wire:
    dtype = root.choose("compute", DTYPES)
    code_dim = method.integer("code_dim", low=1)
    std = method.positive("std")
    makers = {"bernoulli": likelihoods.bernoulli, "normal": lambda: likelihoods.normal(std)}
    likelihood = method.choose("likelihood", makers)()
    if method.word("likelihood") == "bernoulli" and preprocess.range != (0.0, 1.0):
        fitting = ", ".join(sorted(n for n, p in PREPROCESS.items() if p.range == (0.0, 1.0)))
        raise BadInput(
            f"{method.key('likelihood')}='bernoulli' needs x in [0, 1]; config.data.preprocess="
            f"{preprocess.name!r} does not give that. Valid: {fitting}."
        )
    beta = kl_warmup(method.number("beta", low=0.0), method.integer("warmup_steps", low=0))
    tx = _optimizer(root.section("optimizer"))
    encoder, decoder = (_network(root, name, dtype) for name in ("encoder", "decoder"))
    average = _average(method, ("encoder", "decoder"))

    def wire(shape: Shape) -> Method:
        nets = encoder.encoder(shape, 2 * code_dim), decoder.decoder(shape)
        return average(vae(*nets, likelihood, code_dim, beta, tx, shape))

    return wire


def _gan(root: Section, method: Section, preprocess: Preprocess) -> Wire:
    dtype = root.choose("compute", DTYPES)
    values = method.choose("game", GAMES)
    prior = method.choose("prior", PRIORS)(method.integer("code_dim", low=1))
    repeats = method.integer("discriminator_steps", low=1)
    generator_tx, discriminator_tx = (
        _optimizer(root.section(f"{name}_optimizer")) for name in ("generator", "discriminator")
    )
    generator, discriminator = (
        _network(root, name, dtype) for name in ("generator", "discriminator")
    )
    average = _average(method, ("generator",))

    def wire(shape: Shape) -> Method:
        return average(
            gan(
                generator.decoder(shape),
                discriminator.encoder(shape, 1),
                values,
                prior,
                generator_tx,
                discriminator_tx,
                shape,
                repeats,
                preprocess.range,
            )
        )

    return wire


METHODS: dict[str, Callable[[Section, Section, Preprocess], Wire]] = {"gan": _gan, "vae": _vae}
