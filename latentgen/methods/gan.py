"""Generative adversarial network: discriminator D and generator G play on one cost, in turn.

G maps random codes to synthetic examples; D(x) is the probability that x is real. D ascends
C(D, G), G descends it.

Reference: Goodfellow et al. 2014, algorithm 1 (arXiv:1406.2661).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, Shaped

from latentgen.core.errors import BadInput, choose
from latentgen.core.game import ascend, game, players
from latentgen.core.keys import named_key
from latentgen.core.schedules import Value, value_at
from latentgen.core.types import Batch, Method, Net, Params, Phase, PyTree, Size, State, Terms
from latentgen.methods.auxiliary import NO_CODES, Auxiliary, auxiliary_probes, auxiliary_terms
from latentgen.networks.labels import concat_label, cycle_labels
from latentgen.objectives.adversarial import AdversarialLoss, Logits, minimax_value
from latentgen.objectives.penalties import Penalty
from latentgen.probability.codes import Codes
from latentgen.probability.priors import LearnedPrior, Prior

CONDITIONS = ("concat", "projection", "network", "auxiliary")


class Model(NamedTuple):
    """Components of a GAN.

    generator: (n, code_dim + classes), codes with the one-hot class appended, -> x
    discriminator: (g, *shape of a group) -> (g, `outputs(classes, condition, codes)`); a group is
        `packing` examples, stacked along the last axis
    prior: p(z) over codes of `code_dim` coordinates; trained with the generator
    classes: number of classes that both players are conditioned on; 0: unconditional
    condition: how the discriminator receives the class. 'concat': one-hot, appended to every
        pixel. 'projection': l(x, y) = l(x) + <v_y, features of x> (Miyato & Koyama 2018,
        arXiv:1802.05637). 'network': as a second input, one-hot, of its network. 'auxiliary': not
        at all; it predicts the class of real and synthetic x, and both players ascend
        log p(class | x) (ACGAN, Odena et al. 2017, arXiv:1610.09585)
    packing: examples per logit (PacGAN, Lin et al. 2018, arXiv:1712.04086)
    codes: the last coordinates of a code, which the discriminator infers from synthetic x; both
        players ascend log Q(c|x) (InfoGAN, Chen et al. 2016, arXiv:1606.03657)
    """

    generator: Net
    discriminator: Net
    prior: LearnedPrior
    code_dim: int
    classes: int = 0
    condition: str = "concat"
    packing: int = 1
    codes: Codes = NO_CODES

    @property
    def tasks(self) -> Auxiliary:
        """Second tasks of the discriminator, from its last outputs."""
        return Auxiliary(self.classes if self.condition == "auxiliary" else 0, self.codes)


class Objective(NamedTuple):
    """Training objective: losses of both players, and an optional penalty on the discriminator.

    weight: of the penalty
    images_per_step: real images that D sees in a step, by which schedules count
    auxiliary_weight: of the discriminator's second tasks, the class and the codes
    """

    loss: AdversarialLoss
    penalty: Penalty | None = None
    weight: Value = 0.0
    images_per_step: int = 0
    auxiliary_weight: Value = 1.0


def outputs(classes: int, condition: str, codes: Codes = NO_CODES) -> int:
    """Return the number of discriminator outputs for a group: a logit, classes, codes.

    The projection's <v_y, features> is one linear function of the features for each class, as is
    an auxiliary classifier's logit: the last layer has `classes` outputs more.
    """
    return 1 + classes * (condition in ("projection", "auxiliary")) + codes.size


def gan(
    model: Model,
    objective: Objective,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    x_shape: tuple[int, ...],
    discriminator_steps: int = 1,
    generator_batches: int = 1,
) -> Method:
    """Make a GAN: in each step D is updated `discriminator_steps` times, then G once.

    Each update draws new codes; each update of D is on its own minibatch.

    Args:
        x_shape: the shape of one example.
        discriminator_steps: k in the paper's algorithm 1.
        generator_batches: minibatches of codes in the generator's turn; real examples and classes
            are those of one minibatch, repeated.

    Raises:
        BadInput: the condition is unknown, or it is another than 'concat' without classes or with
            packing > 1; there are codes to infer with packing > 1.
    """
    choose("condition", model.condition, dict.fromkeys(CONDITIONS))
    if model.condition != "concat" and (model.packing > 1 or not model.classes):
        raise BadInput(f"condition={model.condition!r} needs classes and packing=1.")
    if model.codes.size and model.packing > 1:
        raise BadInput("codes are inferred from single examples: packing must be 1.")
    phases = [
        Phase(
            _discriminator_loss(model, objective),
            ("discriminator",),
            ascend(discriminator_tx),
            discriminator_steps,
        ),
        Phase(
            _generator_loss(model, objective, generator_batches),
            ("generator", "prior"),
            generator_tx,
        ),
    ]
    probe_fns = probes(model)

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return probe_fns["decode"](state, probe_fns["codes"](state, key, n))

    return game(_init(model, x_shape), phases, sample, probe_fns)


def _init(model: Model, x_shape: tuple[int, ...]) -> Callable[..., tuple[Params, Params]]:
    *rest, last = x_shape
    label_channels = model.classes if model.condition == "concat" else 0
    group = (*rest, model.packing * (last + label_channels))
    one_hot = ((model.classes,),) if model.condition == "network" else ()
    networks = players(
        {
            "generator": (model.generator, (model.code_dim + model.classes,)),
            "discriminator": (model.discriminator, group, *one_hot),
        }
    )

    def init(key: Key[Array, ""]) -> tuple[Params, Params]:
        params, stats = networks(key)
        return params | {"prior": model.prior.init(named_key(key, "prior"))}, stats

    return init


class Scores(NamedTuple):
    """Real and synthetic examples in groups, and the discriminator's logit of each group.

    score: groups of x -> logits, given the classes of the batch; for penalties. It discards the
        discriminator's new stats.
    auxiliary: log-probabilities of the second tasks, which both players ascend
    stats: new stats of generator and discriminator
    """

    real: Float[Array, "g m *shape"]
    synthetic: Float[Array, "g m *shape"]
    real_logits: Logits
    synthetic_logits: Logits
    score: Callable[[Float[Array, "g m *shape"]], Logits]
    auxiliary: Terms
    stats: Params


def score_both(
    model: Model, params: Params, stats: Params, batch: Batch, key: Key[Array, ""], train: bool
) -> Scores:
    """Generate as many synthetic examples as there are real ones, and score both.

    The discriminator is applied twice, so that its batch norm never mixes real with synthetic
    examples. Synthetic examples have the classes of the real ones.
    """
    code_key, generator_key, real_key, synthetic_key, score_key = jax.random.split(key, 5)
    z = prior(model, params).sample(code_key, batch.x.shape[0])
    x, generator_stats = generate(model, params, stats, z, batch.label, train, generator_key)
    real, synthetic, label = (pack(a, model.packing) for a in (batch.x, x, batch.label))
    d_params, d_stats = params["discriminator"], stats["discriminator"]
    real_out, stats_after_real = outputs_of(model, d_params, d_stats, real, label, train, real_key)
    synthetic_out, new_d_stats = outputs_of(
        model, d_params, stats_after_real, synthetic, label, train, synthetic_key
    )
    return Scores(
        real,
        synthetic,
        _logits(model, real_out, label),
        _logits(model, synthetic_out, label),
        lambda x: logits_of(model, d_params, d_stats, x, label, train, score_key)[0],
        auxiliary_terms(model.tasks, batch.label, z, real_out, synthetic_out),
        {"generator": generator_stats, "discriminator": new_d_stats},
    )


def pack(x: Shaped[Array, "n *shape"], packing: int) -> Shaped[Array, "g m *shape"]:
    """Group neighbours by `packing`: (n, *shape) -> (g, packing, *shape), g = ceil(n / packing).

    An incomplete last group is filled with the first examples.
    """
    n, groups = x.shape[0], -(-x.shape[0] // packing)
    is_divisible = packing == 1 or (isinstance(n, int) and n % packing == 0)
    if not is_divisible:  # gathers across devices, so only where it must
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
    out, stats = outputs_of(model, params, stats, x, label, train, key)
    return _logits(model, out, label), stats


def outputs_of(
    model: Model,
    params: PyTree,
    stats: PyTree,
    x: Float[Array, "g m *shape"],
    label: Int[Array, "g m"],
    train: bool,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "g o"], PyTree]:
    """Return all outputs of the discriminator for each group, and its new stats.

    The m members of a group are stacked along the last axis.
    """
    if model.condition == "concat":
        flat = concat_label(x.reshape(-1, *x.shape[2:]), label.reshape(-1), model.classes)
        x = flat.reshape(*x.shape[:2], *flat.shape[1:])
    stacked = jnp.moveaxis(x, 1, -2)
    stacked = stacked.reshape(*stacked.shape[:-2], -1)
    inputs = [stacked]
    if model.condition == "network":
        inputs.append(jax.nn.one_hot(label[:, 0], model.classes, dtype=stacked.dtype))
    return model.discriminator.apply(params, stats, *inputs, train=train, key=key)


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
) -> tuple[Float[Array, "n *shape"], PyTree]:
    """Return the synthetic examples of these codes and the generator's new stats."""
    inputs = concat_label(z, label, model.classes)
    return model.generator.apply(
        params["generator"], stats["generator"], inputs, train=train, key=key
    )


def prior(model: Model, params: Params) -> Prior:
    """Return p(z) with the current parameters."""
    return model.prior.at(params["prior"], _no_encoder)


def _no_encoder(x: Array) -> Any:
    raise BadInput("this prior asks for an encoder, which a GAN has not.")


def _discriminator_loss(model: Model, objective: Objective) -> Callable[..., tuple]:
    """Make the discriminator's loss: the value that it ascends, minus the weighted penalty."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        turn_key, penalty_key = jax.random.split(key)
        scores = score_both(model, params, stats, batch, turn_key, train)
        real, synthetic = scores.real_logits, scores.synthetic_logits
        value = objective.loss.discriminator_value(real, synthetic)
        terms = {"real_logit": real, "synthetic_logit": synthetic, "discriminator_value": value}
        if objective.loss.discriminator_value is minimax_value:
            terms = {"cost": value, "d_real": jax.nn.sigmoid(real)}
            terms["d_synthetic"] = jax.nn.sigmoid(synthetic)
        if objective.penalty is not None:
            terms["penalty"] = objective.penalty(
                scores.score, scores.real, scores.synthetic, penalty_key
            )
            weight = value_at(objective.weight, step * jnp.float32(objective.images_per_step))
            value = value - weight * terms["penalty"]
        value = value + _weighted(objective, scores.auxiliary, step)
        terms |= scores.auxiliary
        unpack = lambda per_group: _unpack(per_group, model.packing, batch.label.shape[0])  # noqa: E731
        return unpack(value), (scores.stats, jax.tree.map(unpack, terms))

    return loss


def _generator_loss(model: Model, objective: Objective, batches: int) -> Callable[..., tuple]:
    """Make the loss that the generator descends."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        if train and batches > 1:
            batch = jax.tree.map(lambda a: jnp.concatenate([a] * batches), batch)
        scores = score_both(model, params, stats, batch, key, train)
        value = objective.loss.generator_loss(scores.real_logits, scores.synthetic_logits)
        value = value - _weighted(objective, scores.auxiliary, step)
        value = _unpack(value, model.packing, batch.label.shape[0])
        return value, (scores.stats, {"generator_loss": value})

    return loss


def _weighted(
    objective: Objective, auxiliary: Terms, step: Int[Array, ""]
) -> Float[Array, " n"] | float:
    """Return the weighted sum of the second tasks' log-probabilities; 0 without one."""
    if not auxiliary:
        return 0.0
    weight = value_at(objective.auxiliary_weight, step * jnp.float32(objective.images_per_step))
    return weight * sum(auxiliary.values())


def _unpack(per_group: Float[Array, " g"], packing: int, n: Size) -> Float[Array, " n"]:
    """Repeat each group's value for each of its members; drop those that filled the last group."""
    return jnp.repeat(per_group, packing)[:n]


def probes(model: Model) -> dict[str, Callable[..., Any]]:
    """Return the probes of a trained GAN by name; each takes the state first.

    codes (key, n) -> z ~ p(z), (n, d)
    decode (z, label=None) -> x, (n, *shape); by default labels cycle through the classes
    discriminate (x, label=None) -> logits, (n,); a conditional method requires the label
    log_prior (z of shape (k, n, d)) -> log p(z) in nats, (k, n)
    classify, infer, traverse: of the second tasks, see `auxiliary_probes`
    """

    def codes(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        return prior(model, state.params).sample(key, n)

    def decode(
        state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n *shape"]:
        label = cycle_labels(z.shape[0], model.classes) if label is None else label
        return generate(model, state.params, state.stats, z, label, train=False)[0]

    def discriminate(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Logits:
        if label is None and model.classes:
            raise BadInput("label is missing: this method asks what class each image is of.")
        label = jnp.zeros(x.shape[0], jnp.int32) if label is None else label
        params, stats = state.params["discriminator"], state.stats["discriminator"]
        grouped_x, grouped_label = (pack(a, model.packing) for a in (x, label))
        per_group, _ = logits_of(model, params, stats, grouped_x, grouped_label, train=False)
        return _unpack(per_group, model.packing, x.shape[0])

    def log_prior(state: State, z: Float[Array, "k n d"]) -> Float[Array, "k n"]:
        flat = z.reshape(-1, model.code_dim)
        return prior(model, state.params).log_prob(flat).reshape(z.shape[:2])

    def every_output(state: State, x: Float[Array, "n *shape"]) -> Float[Array, "n o"]:
        params, stats = state.params["discriminator"], state.stats["discriminator"]
        label = jnp.zeros((x.shape[0], 1), jnp.int32)
        return outputs_of(model, params, stats, pack(x, 1), label, train=False)[0]

    found: dict[str, Callable[..., Any]] = {
        "codes": codes,
        "decode": decode,
        "log_prior": log_prior,
    }
    found["discriminate"] = discriminate
    current_prior = lambda state: prior(model, state.params)  # noqa: E731
    return found | auxiliary_probes(model.tasks, every_output, current_prior)
