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
from latentgen.methods import trackers
from latentgen.methods.auxiliary import NO_CODES, Auxiliary, auxiliary_probes, auxiliary_terms
from latentgen.methods.styles import (
    Mapping,
    PathLength,
    path_length_loss,
    style_probes,
    styles,
)
from latentgen.networks.labels import concat_label, cycle_labels
from latentgen.objectives import regularizers as regularization
from latentgen.objectives.adversarial import AdversarialLoss, Logits, minimax_value
from latentgen.objectives.augment import Augmentation
from latentgen.objectives.penalties import Penalty, normalize_gradient
from latentgen.objectives.regularizers import Regularizers, Scores
from latentgen.probability.codes import Codes
from latentgen.probability.priors import LearnedPrior, Prior

CONDITIONS = ("concat", "projection", "network", "auxiliary")
FIRST = ("discriminator", "generator")


Transform = Callable[[Float[Array, "g m *shape"], Key[Array, ""]], Float[Array, "g m *shape"]]
"""(groups of x, key) -> what the discriminator sees of them."""


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
    normalize_gradient: logits are l / (|grad_x l| + |l|): `penalties.normalize_gradient`
    mapping: from codes to styles w, (n, levels, width), which the generator takes in their place
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
        """Second tasks of the discriminator, from its last outputs."""
        return Auxiliary(self.classes if self.condition == "auxiliary" else 0, self.codes)


class Objective(NamedTuple):
    """Training objective: losses of both players, and what regularizes the discriminator.

    weight: of the penalty
    images_per_step: real images that D sees in a step, by which schedules count
    auxiliary_weight: of the discriminator's second tasks, the class and the codes
    augmentation: T of what D sees in training, D(T(x)) in place of D(x); penalties are on gradients
        of it in x, for draws of T of their own
    penalty_every: 1: the penalty is part of D's loss; k: it has turns of its own, in every k-th
        step, on its own codes (lazy regularization, arXiv:1912.04958, section 3.1)
    path_length: regularizes the generator, in turns of its own
    """

    loss: AdversarialLoss
    penalty: Penalty | None = None
    weight: Value = 0.0
    images_per_step: int = 0
    auxiliary_weight: Value = 1.0
    augmentation: Augmentation | None = None
    regularizers: Regularizers = Regularizers()
    penalty_every: int = 1
    path_length: PathLength | None = None

    def images(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Return the number of images seen before a step."""
        return step * jnp.float32(self.images_per_step)

    def transform(self, stats: Params, step: Int[Array, ""], train: bool) -> Transform:
        """Return what D sees of groups of x: T(x) in training, else x."""
        if self.augmentation is None or not train:
            return lambda x, key: x
        augment = self.augmentation.at(stats, self.images(step))
        return lambda x, key: augment(x, named_key(key, "augment"))

    def probability(self, stats: Params, step: Int[Array, ""], like: Logits) -> Terms:
        """Return the probability of augmentations as a term, if there is one."""
        augmentation = self.augmentation
        p = augmentation and augmentation.probability(stats, self.images(step))
        return {} if p is None else {"augment_p": jnp.full_like(like, p)}


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
    first: str = "discriminator",
    generator_batches: int = 1,
) -> Method:
    """Make a GAN: in each step D is updated `discriminator_steps` times, then G once.

    Each update draws new codes; each update of D is on its own minibatch.

    Args:
        x_shape: the shape of one example.
        discriminator_steps: k in the paper's algorithm 1.
        first: player that is updated first in a step, of `FIRST`.
        generator_batches: minibatches of codes in the generator's turn; real examples and classes
            are those of one minibatch, repeated.

    Raises:
        BadInput: the condition is unknown, or it is another than 'concat' without classes or with
            packing > 1; there are codes to infer with packing > 1.
    """
    choose("condition", model.condition, dict.fromkeys(CONDITIONS))
    choose("first", first, dict.fromkeys(FIRST))
    if model.condition != "concat" and (model.packing > 1 or not model.classes):
        raise BadInput(f"condition={model.condition!r} needs classes and packing=1.")
    if model.codes.size and model.packing > 1:
        raise BadInput("codes are inferred from single examples: packing must be 1.")
    d_tx = ascend(discriminator_tx)
    trackers_of_d = trackers.start(objective.augmentation, objective.regularizers)
    main = Phase(
        _discriminator_loss(model, objective),
        ("discriminator", *trackers_of_d),
        d_tx,
        discriminator_steps,
    )
    of_generator = _generator_turns(model, objective, generator_tx, generator_batches)
    turns = {"discriminator": [main], "generator": of_generator}
    if objective.penalty is not None and objective.penalty_every > 1:
        loss = _penalty_loss(model, objective)
        turns["discriminator"].append(Phase(loss, main.trains, d_tx, every=objective.penalty_every))
    phases: list[Phase] = []
    for player in (first, *(other for other in FIRST if other != first)):
        shared = len(phases)
        main, *lazy = turns[player]
        phases += [main, *(phase._replace(shares=shared) for phase in lazy)]
    probe_fns = probes(model)

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return probe_fns["decode"](state, probe_fns["codes"](state, key, n))

    return game(_init(model, objective, x_shape), phases, sample, probe_fns)


def _generator_turns(
    model: Model, objective: Objective, tx: optax.GradientTransformation, batches: int
) -> list[Phase]:
    """Return the generator's phases: its loss, and path lengths if they are regularized."""
    trains: tuple[str, ...] = ("generator", "prior")
    if model.mapping is not None:
        trains += ("mapping",)
    loss = _generator_loss(model, objective, batches)
    if (path := objective.path_length) is None:
        return [Phase(loss, trains, tx)]
    trains += ("path_length",)
    lazy = Phase(_path_length_loss(model, path), trains, tx, every=path.every)
    return [Phase(loss, trains, tx), lazy]


def _init(
    model: Model, objective: Objective, x_shape: tuple[int, ...]
) -> Callable[..., tuple[Params, Params]]:
    *rest, last = x_shape
    label_channels = model.classes if model.condition == "concat" else 0
    group = (*rest, model.packing * (last + label_channels))
    one_hot = ((model.classes,),) if model.condition == "network" else ()
    code = (model.code_dim + model.classes,)
    nets: dict[str, tuple[Net, *tuple[tuple[int, ...], ...]]] = {
        "generator": (model.generator, code),
        "discriminator": (model.discriminator, group, *one_hot),
    }
    if model.mapping is not None:
        nets["generator"] = (model.generator, (model.mapping.levels, model.mapping.width))
        nets["mapping"] = (model.mapping.net, code)
    networks = players(nets)

    def init(key: Key[Array, ""]) -> tuple[Params, Params]:
        params, stats = networks(key)
        params |= {"prior": model.prior.init(named_key(key, "prior"))}
        tracked = trackers.start(objective.augmentation, objective.regularizers)
        if objective.path_length is not None:
            tracked["path_length"] = jnp.zeros(())
        return params | {name: {} for name in tracked}, stats | tracked

    return init


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
        transform: applied to all that the discriminator sees, with random draws for each use.
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

    real_logits, real_out, stats_after_real = apply_discriminator(d_stats, real, real_key)
    synthetic_logits, synthetic_out, new_d_stats = apply_discriminator(
        stats_after_real, synthetic, synthetic_key
    )
    return Scores(
        real,
        synthetic,
        real_logits,
        synthetic_logits,
        lambda x: apply_discriminator(d_stats, x, score_key)[0],
        auxiliary_terms(model.tasks, batch.label, z, real_out, synthetic_out),
        stats | generator_stats | {"discriminator": new_d_stats},
        z,
        synthesize,
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
    """Return what the generator draws of these codes and classes, and the mapping's new stats.

    Without a mapping network that is the codes with the one-hot class appended.
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
        transform = objective.transform(stats, step, train)
        scores = score_both(model, params, stats, batch, turn_key, train, transform)
        real, synthetic = scores.real_logits, scores.synthetic_logits
        value = objective.loss.discriminator_value(real, synthetic)
        terms = {"real_logit": real, "synthetic_logit": synthetic, "discriminator_value": value}
        if objective.loss.discriminator_value is minimax_value:
            terms = {"cost": value, "d_real": jax.nn.sigmoid(real)}
            terms["d_synthetic"] = jax.nn.sigmoid(synthetic)
        if objective.penalty is not None and objective.penalty_every == 1:
            terms["penalty"] = objective.penalty(
                scores.score, scores.real, scores.synthetic, penalty_key
            )
            weight = value_at(objective.weight, objective.images(step))
            value = value - weight * terms["penalty"]
        value = value + _weighted(objective, scores.auxiliary, step)
        n = batch.label.shape[0]
        tracked = trackers.update(objective.augmentation, stats, real, synthetic, n)
        more = regularization.of_discriminator(
            objective.regularizers, scores, tracked.get("lecam"), named_key(key, "regularize")
        )
        for term in more.values():
            value = value - term
        terms |= scores.auxiliary | more | objective.probability(stats, step, value)
        unpack = lambda per_group: _unpack(per_group, model.packing, n)  # noqa: E731
        return unpack(value), (scores.stats | tracked, jax.tree.map(unpack, terms))

    return loss


def _penalty_loss(model: Model, objective: Objective) -> Callable[..., tuple]:
    """Make the loss of the discriminator's other turns: minus the weighted penalty, to ascend."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        turn_key, penalty_key = jax.random.split(key)
        transform = objective.transform(stats, step, train)
        scores = score_both(model, params, stats, batch, turn_key, train, transform)
        assert objective.penalty is not None
        penalty = objective.penalty(scores.score, scores.real, scores.synthetic, penalty_key)
        penalty = _unpack(penalty, model.packing, batch.label.shape[0])
        weight = value_at(objective.weight, objective.images(step))
        return -weight * penalty, (scores.stats, {"penalty": penalty})

    return loss


def _path_length_loss(model: Model, path: PathLength) -> Callable[..., tuple]:
    """Make the loss of the generator's other turns: the weighted penalty of path lengths."""

    def sample(
        params: Params, stats: Params, label: Int[Array, " n"], key: Key[Array, ""], train: bool
    ) -> tuple[Float[Array, "n levels width"], Params]:
        code_key, style_key = jax.random.split(key)
        z = prior(model, params).sample(code_key, label.shape[0])
        return styles_of(model, params, stats, z, label, train, style_key)

    return path_length_loss(path, sample, model.generator)


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
        transform = objective.transform(stats, step, train)
        if train and batches > 1:
            batch = jax.tree.map(lambda a: jnp.concatenate([a] * batches), batch)
        scores = score_both(model, params, stats, batch, key, train, transform)
        value = objective.loss.generator_loss(scores.real_logits, scores.synthetic_logits)
        if train and objective.regularizers.top < 1:
            share = regularization.top_share(objective.regularizers, objective.images(step))
            value = value * regularization.top_weights(scores.synthetic_logits, share)
        value = value - _weighted(objective, scores.auxiliary, step)
        more = regularization.of_generator(
            objective.regularizers, scores, named_key(key, "regularize")
        )
        terms = {"generator_loss": value} | more
        for term in more.values():
            value = value + term
        unpack = lambda per_group: _unpack(per_group, model.packing, batch.label.shape[0])  # noqa: E731
        return unpack(value), (scores.stats, jax.tree.map(unpack, terms))

    return loss


def _weighted(
    objective: Objective, auxiliary: Terms, step: Int[Array, ""]
) -> Float[Array, " n"] | float:
    """Return the weighted sum of the second tasks' log-probabilities; 0 without one."""
    if not auxiliary:
        return 0.0
    weight = value_at(objective.auxiliary_weight, objective.images(step))
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

    With a mapping network, decode (z) = decode_style (style (z)):

    style (z, label=None) -> w, (n, width)
    decode_style (w) -> x; w of shape (n, width), or (n, levels, width) for one style a layer
    mean_style () -> the moving average of w, (width,)
    style_levels () -> levels, the number of styles that the generator takes
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
    found |= auxiliary_probes(model.tasks, every_output, current_prior)
    if model.mapping is None:
        return found

    def styles_at(state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None) -> Array:
        label = cycle_labels(z.shape[0], model.classes) if label is None else label
        return styles_of(model, state.params, state.stats, z, label, train=False)[0]

    return found | style_probes(model.mapping, model.generator, styles_at)
