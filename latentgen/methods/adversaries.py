"""Forward pass of a GAN: generate synthetic examples, pack them in groups, score both kinds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key
from latentgen.core.types import Batch, Net, Params, PyTree, Size
from latentgen.methods.auxiliary import NO_CODES, Auxiliary, auxiliary_terms
from latentgen.methods.styles import Mapping, styles
from latentgen.networks.labels import concat_label
from latentgen.objectives.adversarial import Logits
from latentgen.objectives.penalties import normalize_gradient
from latentgen.objectives.regularizers import Scores
from latentgen.probability.codes import Codes
from latentgen.probability.priors import LearnedPrior, Prior

CONDITIONS = ("concat", "projection", "network", "auxiliary")

Transform = Callable[[Float[Array, "g m *shape"], Key[Array, ""]], Float[Array, "g m *shape"]]
"""(groups of x, key) -> groups that the discriminator sees in their place."""


class Model(NamedTuple):
    """Components of a GAN.

    generator: (n, code_dim + classes), codes with the one-hot class appended, -> x
    discriminator: (g, *shape of a group) -> (g, `outputs(classes, condition, codes)`); a group is
        `packing` examples, concatenated along the last axis
    prior: p(z) over codes of `code_dim` coordinates; trained with the generator
    classes: number of classes that both players are conditioned on; 0: unconditional
    condition: how the discriminator receives the class. 'concat': one-hot, appended to every
        pixel. 'projection': l(x, y) = l(x) + <v_y, features of x> (Miyato & Koyama 2018,
        arXiv:1802.05637). 'network': as a second input, one-hot, of its network. 'auxiliary': not
        at all; it predicts the class of real and synthetic x, and both players ascend
        log p(class | x) (ACGAN, Odena et al. 2017, arXiv:1610.09585)
    packing: examples per logit (PacGAN, Lin et al. 2018, arXiv:1712.04086)
    codes: c, the last coordinates of z, which the discriminator infers from synthetic x; both
        players ascend log Q(c|x) (InfoGAN, Chen et al. 2016, arXiv:1606.03657)
    normalize_gradient: logits are l / (|grad_x l| + |l|): `penalties.normalize_gradient`
    mapping: codes -> styles w, (n, levels, width), which the generator then takes in place of codes
    """

    generator: Net
    discriminator: Net
    prior: LearnedPrior
    code_dim: int
    classes: int = 0
    condition: str = "concat"
    packing: int = 1
    codes: Codes = NO_CODES
    normalize_gradient: bool = False
    mapping: Mapping | None = None

    @property
    def tasks(self) -> Auxiliary:
        """Auxiliary tasks of the discriminator, which its last outputs are for."""
        return Auxiliary(self.classes if self.condition == "auxiliary" else 0, self.codes)


def outputs(classes: int, condition: str, codes: Codes = NO_CODES) -> int:
    """Return the number of discriminator outputs for a group: a logit, classes, codes.

    The projection's <v_y, features> is one linear function of the features for each class, as is
    an auxiliary classifier's logit: the last layer has `classes` outputs more.
    """
    return 1 + classes * (condition in ("projection", "auxiliary")) + codes.size


def score_both(
    model: Model,
    params: Params,
    stats: Params,
    batch: Batch,
    key: Key[Array, ""],
    train: bool,
    transform: Transform = lambda x, key: x,
) -> Scores:
    """Generate as many synthetic examples as there are real ones, and score both.

    The discriminator is applied twice, so that its batch norm never mixes real with synthetic
    examples. Synthetic examples have the classes of the real ones.

    Args:
        transform: applied to all that the discriminator sees, with new random draws at each use.
    """
    code_key, generator_key, real_key, synthetic_key, score_key = jax.random.split(key, 5)
    z = prior(model, params).sample(code_key, batch.x.shape[0])
    x, generator_stats = generate(model, params, stats, z, batch.label, train, generator_key)
    real, synthetic, label = (pack(a, model.packing) for a in (batch.x, x, batch.label))
    d_params, d_stats = params["discriminator"], stats["discriminator"]

    def apply_discriminator(
        d_stats: PyTree, x: Array, key: Key[Array, ""]
    ) -> tuple[Logits, Float[Array, "g o"], PyTree]:
        return logits_and_outputs(model, d_params, d_stats, transform(x, key), label, train, key)

    def synthesize(z: Float[Array, "n d"]) -> Float[Array, "g m *shape"]:
        x, _ = generate(model, params, stats, z, batch.label, train, generator_key)
        return pack(x, model.packing)

    def features(x: Float[Array, "g m *shape"]) -> Float[Array, "g f"]:
        seen = discriminator_inputs(model, transform(x, score_key), label)
        if model.discriminator.features is None:
            raise BadInput("this discriminator keeps no features.")
        return model.discriminator.features(d_params, d_stats, *seen, train=train, key=score_key)

    real_logits, real_out, stats_after_real = apply_discriminator(d_stats, real, real_key)
    synthetic_logits, synthetic_out, new_d_stats = apply_discriminator(
        stats_after_real, synthetic, synthetic_key
    )
    return Scores(
        real=real,
        synthetic=synthetic,
        real_logits=real_logits,
        synthetic_logits=synthetic_logits,
        score=lambda x: apply_discriminator(d_stats, x, score_key)[0],
        features=features,
        auxiliary=auxiliary_terms(model.tasks, batch.label, z, real_out, synthetic_out),
        stats=stats | generator_stats | {"discriminator": new_d_stats},
        codes=z,
        synthesize=synthesize,
    )


def pack(x: Shaped[Array, "n *shape"], packing: int) -> Shaped[Array, "g m *shape"]:
    """Group neighbours by `packing`: (n, *shape) -> (g, packing, *shape), g = ceil(n / packing).

    An incomplete last group is filled with the first examples.
    """
    n, groups = x.shape[0], -(-x.shape[0] // packing)
    is_divisible = packing == 1 or (isinstance(n, int) and n % packing == 0)
    if not is_divisible:  # the gather moves examples across devices: done only if necessary
        x = x[jnp.arange(groups * packing) % n]
    return x.reshape(groups, packing, *x.shape[1:])


def logits_of(
    model: Model,
    params: PyTree,
    stats: PyTree,
    x: Float[Array, "g m *shape"],
    label: Int[Array, "g m"],
    train: bool,
    key: Key[Array, ""] | None = None,
) -> tuple[Logits, PyTree]:
    """Return the discriminator's logit of each group, (g,), and its new stats."""
    logits, _, stats = logits_and_outputs(model, params, stats, x, label, train, key)
    return logits, stats


def logits_and_outputs(
    model: Model,
    params: PyTree,
    stats: PyTree,
    x: Float[Array, "g m *shape"],
    label: Int[Array, "g m"],
    train: bool,
    key: Key[Array, ""] | None = None,
) -> tuple[Logits, Float[Array, "g o"], PyTree]:
    """Return the logit of each group, all outputs of the discriminator, and its new stats."""

    def plain(x: Float[Array, "g m *shape"]) -> tuple[Logits, tuple[Array, PyTree]]:
        out, new_stats = outputs_of(model, params, stats, x, label, train, key)
        return _logits(model, out, label), (out, new_stats)

    logits, (out, stats) = normalize_gradient(plain, x) if model.normalize_gradient else plain(x)
    return logits, out, stats


def outputs_of(
    model: Model,
    params: PyTree,
    stats: PyTree,
    x: Float[Array, "g m *shape"],
    label: Int[Array, "g m"],
    train: bool,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "g o"], PyTree]:
    """Return all outputs of the discriminator for each group, and its new stats."""
    inputs = discriminator_inputs(model, x, label)
    return model.discriminator.apply(params, stats, *inputs, train=train, key=key)


def discriminator_inputs(
    model: Model, x: Float[Array, "g m *shape"], label: Int[Array, "g m"]
) -> list[Array]:
    """Return the inputs of the discriminator's network: x, and the one-hot class if it takes one.

    The m members of a group are concatenated along the last axis.
    """
    if model.condition == "concat":
        flat = concat_label(x.reshape(-1, *x.shape[2:]), label.reshape(-1), model.classes)
        x = flat.reshape(*x.shape[:2], *flat.shape[1:])
    members_last = jnp.moveaxis(x, 1, -2)
    joined = members_last.reshape(*members_last.shape[:-2], -1)
    inputs = [joined]
    if model.condition == "network":
        inputs.append(jax.nn.one_hot(label[:, 0], model.classes, dtype=joined.dtype))
    return inputs


def _logits(model: Model, out: Float[Array, "g o"], label: Int[Array, "g m"]) -> Logits:
    if model.condition == "projection":
        return out[:, 0] + jnp.take_along_axis(out[:, 1:], label, axis=1)[:, 0]
    return out[:, 0]


def generate(
    model: Model,
    params: Params,
    stats: Params,
    z: Float[Array, "n d"],
    label: Int[Array, " n"],
    train: bool,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "n *shape"], Params]:
    """Return the synthetic examples of these codes, and the new stats of generator and mapping."""
    w, new_stats = styles_of(model, params, stats, z, label, train, key)
    x, new_stats["generator"] = model.generator.apply(
        params["generator"], stats["generator"], w, train=train, key=key
    )
    return x, new_stats


def styles_of(
    model: Model,
    params: Params,
    stats: Params,
    z: Float[Array, "n d"],
    label: Int[Array, " n"],
    train: bool,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "n *style"], Params]:
    """Return the generator's inputs for these codes and classes, and the mapping's new stats.

    With a mapping network the inputs are styles w, else codes with the one-hot class appended.
    """
    inputs = concat_label(z, label, model.classes)
    if model.mapping is None:
        return inputs, {}

    def others(key: Key[Array, ""]) -> Float[Array, "n d"]:
        return concat_label(prior(model, params).sample(key, z.shape[0]), label, model.classes)

    key = None if key is None else named_key(key, "mixing")
    w, new_stats = styles(model.mapping, params, stats, inputs, train, others, key)
    return w, {"mapping": new_stats}


def prior(model: Model, params: Params) -> Prior:
    """Return p(z) with the current parameters."""
    return model.prior.at(params["prior"], _no_encoder)


def _no_encoder(x: Array) -> Any:
    raise BadInput("this prior asks for an encoder, which a GAN has not.")


def unpack(per_group: Float[Array, " g"], packing: int, n: Size) -> Float[Array, " n"]:
    """Repeat each group's value for each of its members; drop members that `pack` filled in."""
    return jnp.repeat(per_group, packing)[:n]
