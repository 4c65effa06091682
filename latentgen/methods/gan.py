"""Generative adversarial network: discriminator D and generator G play on one cost, in turn.

G maps random codes to synthetic examples; D(x) is the probability that x is real. D ascends
C(D, G), G descends it.

Reference: Goodfellow et al. 2014, algorithm 1 (arXiv:1406.2661).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from latentgen.core.errors import BadInput, choose
from latentgen.core.game import ascend, game, players
from latentgen.core.keys import named_key
from latentgen.core.types import Batch, Method, Net, Params, Phase, State, Terms
from latentgen.methods import trackers
from latentgen.methods.adversaries import (
    CONDITIONS,
    Model,
    Transform,
    outputs,
    prior,
    score_both,
    styles_of,
    unpack,
)
from latentgen.methods.gan_probes import probes
from latentgen.methods.styles import PathLength, path_length_loss
from latentgen.objectives import regularizers as regularization
from latentgen.objectives.adversarial import AdversarialLoss, Logits, minimax_value
from latentgen.objectives.augment import Augmentation
from latentgen.objectives.penalties import Penalty
from latentgen.objectives.regularizers import Regularizers

__all__ = ["CONDITIONS", "FIRST", "Model", "Objective", "gan", "outputs"]

FIRST = ("discriminator", "generator")
Number = float | Float[Array, ""]


class Objective(NamedTuple):
    """Training objective: losses of both players, and what regularizes the discriminator.

    weight: of the penalty
    images_per_step: number of real images that D sees in a step
    auxiliary_weight: of the auxiliary tasks' log-probabilities, of the class and of the codes
    augmentation: T; in training D(T(x)) takes the place of D(x). A penalty is on the gradient of
        D(T(x)) in x, with separate random draws of T
    penalty_every: 1: the penalty is part of D's loss; k > 1: it is a phase of its own, in every
        k-th step, with new codes (lazy regularization, arXiv:1912.04958, section 3.1)
    path_length: regularizes the generator, in a phase of its own
    """

    loss: AdversarialLoss
    penalty: Penalty | None = None
    weight: Number = 0.0
    images_per_step: int = 0
    auxiliary_weight: Number = 1.0
    augmentation: Augmentation | None = None
    regularizers: Regularizers = Regularizers()
    penalty_every: int = 1
    path_length: PathLength | None = None

    def images(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Return the number of images seen before a step."""
        return step * jnp.float32(self.images_per_step)

    def transform(self, stats: Params, train: bool) -> Transform:
        """Return the function applied to all that D sees: T in training, else the identity."""
        if self.augmentation is None or not train:
            return lambda x, key: x
        augment = self.augmentation.at(stats)
        return lambda x, key: augment(x, named_key(key, "augment"))

    def probability(self, stats: Params, like: Logits) -> Terms:
        """Return the term 'augment_p', the probability of augmentations; {} without one."""
        augmentation = self.augmentation
        p = augmentation and augmentation.probability(stats)
        return {} if p is None else {"augment_p": jnp.full_like(like, p)}


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
        generator_batches: size of the generator's batch of codes, in minibatches; the real examples
            and classes of one minibatch are repeated to match.

    Raises:
        BadInput: the condition is unknown; a condition other than 'concat' has no classes, or
            packing > 1; codes are inferred with packing > 1.
    """
    choose("condition", model.condition, dict.fromkeys(CONDITIONS))
    choose("first", first, dict.fromkeys(FIRST))
    if model.condition != "concat" and (model.packing > 1 or not model.classes):
        raise BadInput(f"condition={model.condition!r} needs classes and packing=1.")
    if model.codes.size and model.packing > 1:
        raise BadInput("codes are inferred from single examples: packing must be 1.")
    d_tx = ascend(discriminator_tx)
    tracked = trackers.start(objective.augmentation, objective.regularizers)
    main = Phase(
        _discriminator_loss(model, objective),
        ("discriminator", *tracked),
        d_tx,
        discriminator_steps,
    )
    of_generator = _generator_phases(model, objective, generator_tx, generator_batches)
    phases_of = {"discriminator": [main], "generator": of_generator}
    if objective.penalty is not None and objective.penalty_every > 1:
        lazy_penalty = Phase(
            _penalty_loss(model, objective), main.trains, d_tx, every=objective.penalty_every
        )
        phases_of["discriminator"].append(lazy_penalty)
    phases: list[Phase] = []
    for player in (first, *(other for other in FIRST if other != first)):
        index_of_main = len(phases)
        main, *lazy = phases_of[player]
        phases += [main, *(phase._replace(shares=index_of_main) for phase in lazy)]
    probe_fns = probes(model)

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return probe_fns["decode"](state, probe_fns["codes"](state, key, n))

    return game(_init(model, objective, x_shape), phases, sample, probe_fns)


def _generator_phases(
    model: Model, objective: Objective, tx: optax.GradientTransformation, batches: int
) -> list[Phase]:
    """Return the generator's phases: its loss, and the path length penalty if there is one."""
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


def _discriminator_loss(model: Model, objective: Objective) -> Callable[..., tuple]:
    """Make the value that the discriminator ascends.

    The adversarial value, minus penalty and regularizers, plus the auxiliary log-probabilities.
    """

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        turn_key, penalty_key = jax.random.split(key)
        transform = objective.transform(stats, train)
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
            value = value - objective.weight * terms["penalty"]
        value = value + _weighted_auxiliary(objective, scores.auxiliary)
        n = batch.label.shape[0]
        tracked = trackers.update(objective.augmentation, stats, real, synthetic, n)
        regularizers = regularization.of_discriminator(
            objective.regularizers, scores, tracked.get("lecam"), named_key(key, "regularize")
        )
        for term in regularizers.values():
            value = value - term
        terms |= scores.auxiliary | regularizers | objective.probability(stats, value)
        per_example = lambda per_group: unpack(per_group, model.packing, n)  # noqa: E731
        return per_example(value), (scores.stats | tracked, jax.tree.map(per_example, terms))

    return loss


def _penalty_loss(model: Model, objective: Objective) -> Callable[..., tuple]:
    """Make the value of the lazy penalty's phase: minus the weighted penalty; D ascends it."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        turn_key, penalty_key = jax.random.split(key)
        transform = objective.transform(stats, train)
        scores = score_both(model, params, stats, batch, turn_key, train, transform)
        assert objective.penalty is not None
        penalty = objective.penalty(scores.score, scores.real, scores.synthetic, penalty_key)
        penalty = unpack(penalty, model.packing, batch.label.shape[0])
        return -objective.weight * penalty, (scores.stats, {"penalty": penalty})

    return loss


def _path_length_loss(model: Model, path: PathLength) -> Callable[..., tuple]:
    """Make the loss of the path length phase: the weighted penalty, which G descends."""

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
        transform = objective.transform(stats, train)
        if train and batches > 1:
            batch = jax.tree.map(lambda a: jnp.concatenate([a] * batches), batch)
        scores = score_both(model, params, stats, batch, key, train, transform)
        value = objective.loss.generator_loss(scores.real_logits, scores.synthetic_logits)
        if train and objective.regularizers.top < 1:
            share = regularization.top_share(objective.regularizers, objective.images(step))
            value = value * regularization.top_weights(scores.synthetic_logits, share)
        value = value - _weighted_auxiliary(objective, scores.auxiliary)
        regularizers = regularization.of_generator(
            objective.regularizers, scores, named_key(key, "regularize")
        )
        terms = {"generator_loss": value} | regularizers
        for term in regularizers.values():
            value = value + term
        n = batch.label.shape[0]
        per_example = lambda per_group: unpack(per_group, model.packing, n)  # noqa: E731
        return per_example(value), (scores.stats, jax.tree.map(per_example, terms))

    return loss


def _weighted_auxiliary(objective: Objective, auxiliary: Terms) -> Float[Array, " n"] | float:
    """Return the weighted sum of the auxiliary tasks' log-probabilities; 0 without such tasks."""
    return objective.auxiliary_weight * sum(auxiliary.values()) if auxiliary else 0.0
