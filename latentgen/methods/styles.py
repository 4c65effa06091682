"""Styles of a generator: a mapping network maps codes z to styles w, the generator's inputs.

Reference: Karras et al. 2019 (arXiv:1812.04948); Karras et al. 2020 (arXiv:1912.04958).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from latentgen.core.schedules import is_zero
from latentgen.core.types import Batch, Net, Params, PyTree, State, Terms
from latentgen.objectives import path_length

PATH_SHARE = 2
"""Path lengths are computed for one in so many examples: `pl_batch_shrink` in the authors' code."""


class Mapping(NamedTuple):
    """The player 'mapping', trained with the generator.

    net: codes with the one-hot class appended -> w, (n, width)
    levels: number of styles that the generator takes, one for each layer
    mixing: probability that a training batch has a second style, used from a random layer on
    mean: stats of `net` -> the moving average of w, (width,)
    """

    net: Net
    width: int
    levels: int
    mixing: float | Float[Array, ""]
    mean: Callable[[PyTree], Float[Array, " width"]]


class PathLength(NamedTuple):
    """Path length regularization, in every `every`-th step.

    weight: of the squared deviation from the average length
    """

    weight: float | Float[Array, ""]
    every: int


def styles(
    mapping: Mapping,
    params: Params,
    stats: Params,
    inputs: Float[Array, "n d"],
    train: bool,
    others: Callable[[Key[Array, ""]], Float[Array, "n d"]],
    key: Key[Array, ""] | None,
) -> tuple[Float[Array, "n levels width"], PyTree]:
    """Return w for each layer of the generator, and the new stats of the mapping network.

    Args:
        inputs: codes with the one-hot class appended.
        others: key -> new codes, with the same classes appended, for style mixing.
        key: None: no mixing, as in evaluation.
    """
    player, before = params["mapping"], stats["mapping"]
    w, new_stats = mapping.net.apply(player, before, inputs, train=train)
    w = jnp.broadcast_to(w[:, None], (w.shape[0], mapping.levels, w.shape[1]))
    if is_zero(mapping.mixing) or not train or key is None:
        return w, new_stats
    mix_key, layer_key, code_key = jax.random.split(key, 3)
    second, _ = mapping.net.apply(player, before, others(code_key), train=True)
    first_mixed = jax.random.randint(layer_key, (), 1, mapping.levels)
    mixed = jax.random.uniform(mix_key) < mapping.mixing
    level = jnp.arange(mapping.levels)[None, :, None]
    return jnp.where(mixed & (level >= first_mixed), second[:, None], w), new_stats


def path_length_loss(
    path: PathLength, sample: Callable[..., tuple[Array, Params]], generator: Net
) -> Callable[..., tuple]:
    """Make the loss of a phase: the weighted squared deviation of path lengths from their average.

    It is computed for one in `PATH_SHARE` of the batch's classes, and repeated to n values. The
    moving average is stored as the stats of the player 'path_length'.

    Args:
        sample: (params, stats, label, key, train) -> styles of random codes, new stats.
    """

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        style_key, generator_key, noise_key = jax.random.split(key, 3)
        n = batch.label.shape[0]
        w, new_stats = sample(params, stats, batch.label[::PATH_SHARE], style_key, train)

        def draw(w: Float[Array, "m levels width"]) -> Float[Array, "m *shape"]:
            player, before = params["generator"], stats["generator"]
            return generator.apply(player, before, w, train=train, key=generator_key)[0]

        noise = pixel_noise(jax.eval_shape(draw, w), noise_key)
        lengths = path_length.lengths_of(draw, w, noise)
        penalty, average = path_length.penalized(lengths, stats["path_length"])
        lengths, penalty = (a.repeat(PATH_SHARE)[:n] for a in (lengths, penalty))
        terms = {"path_length": lengths, "path_penalty": penalty}
        return path.weight * penalty, (stats | new_stats | {"path_length": average}, terms)

    return loss


def pixel_noise(image: jax.ShapeDtypeStruct, key: Key[Array, ""]) -> Float[Array, "n h w c"]:
    """Draw y of `path_length.lengths_of`, N(0, I / (h w)), for images of this shape."""
    pixels = image.shape[1] * image.shape[2]
    return jax.random.normal(key, image.shape, image.dtype) * pixels**-0.5


def style_probes(
    mapping: Mapping, generator: Net, styles_at: Callable[..., Array]
) -> dict[str, Callable[..., Any]]:
    """Return the probes of styles, see `methods.gan_probes.probes`.

    Args:
        styles_at: (state, z, label) -> w, (n, levels, width).
    """

    def style(
        state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n width"]:
        return styles_at(state, z, label)[:, 0]

    def decode_style(state: State, w: Float[Array, "n *style"]) -> Float[Array, "n *shape"]:
        params, stats = state.params["generator"], state.stats["generator"]
        return generator.apply(params, stats, w, train=False)[0]

    def mean_style(state: State) -> Float[Array, " width"]:
        return mapping.mean(state.stats["mapping"])

    def style_levels(state: State) -> int:
        return mapping.levels

    return {
        "style": style,
        "decode_style": decode_style,
        "mean_style": mean_style,
        "style_levels": style_levels,
    }
