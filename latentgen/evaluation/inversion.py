"""Inversion of a generator: the code, or the style, whose image is nearest to a given one.

The learning rate and the noise of the codes follow StyleGAN2's projector, without its noise maps:
lr rises over the first 5% of the steps and falls along a cosine over the last quarter; the noise is
`noise` times the spread of the codes, (1 - t / 0.75)^2 of it at the fraction t of the steps.

Reference: Karras et al. 2020, appendix D (arXiv:1912.04958).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, Shaped

from latentgen.core.errors import BadInput, choose, positive
from latentgen.core.keys import named_key
from latentgen.core.types import Method, PyTree
from latentgen.data.preprocess import Preprocess
from latentgen.evaluation import styles
from latentgen.evaluation.measures.subject import with_progress
from latentgen.evaluation.views import probe
from latentgen.metrics.lpips import lpips
from latentgen.networks import imagenet, pretrained

RISE, FALL, NOISY = 0.05, 0.25, 0.75
"""Fractions of the steps: of the rise and the fall of the learning rate, and of noise."""
DRAWS = 1_000  # codes from which their spread is estimated
VALUES_AT_ONCE = 2**20  # of decoded images in memory, all restarts together

Distance = Callable[[Float[Array, "n *shape"], Float[Array, "n *shape"]], Float[Array, " n"]]


class Options(NamedTuple):
    """Options of an inversion.

    distance: 'squared', the sum of squared differences of preprocessed values, or 'lpips'
    space: 'z', codes, or 'w', styles; None: styles where the method has them
    restarts: starts of each image, of which the best end is kept
    noise: of the codes while they are optimized, relative to their spread
    regularizer: weight of -log p(z) in nats, or of the squared distance of w from the mean style
        relative to the spread
    """

    distance: str = "squared"
    space: str | None = None
    steps: int = 500
    lr: float = 0.1
    restarts: int = 4
    noise: float = 0.05
    regularizer: float = 0.0


class Inverted(NamedTuple):
    """The best end of each image's restarts.

    codes: codes or styles
    x: decoded from them
    distances: of x from the given images, by `Options.distance`
    """

    codes: Float[Array | np.ndarray, "n d"]
    x: Shaped[Array | np.ndarray, "n *shape"]
    distances: Float[Array | np.ndarray, " n"]


class Space(NamedTuple):
    """A space of codes or styles.

    starts: (state, key, restart of each, label of each) -> a start for each
    decode: (state, code, label) -> x
    center: (state) -> the mean, about which `spread` is measured
    penalty: (state, code, spread) -> the regularizer of each
    """

    starts: Callable[..., Float[Array, "n d"]]
    decode: Callable[..., Float[Array, "n *shape"]]
    center: Callable[..., Float[Array, " d"]]
    penalty: Callable[..., Float[Array, " n"]]


def check(options: Options) -> None:
    """Raise BadInput where a value is not valid."""
    choose("distance", options.distance, DISTANCES)
    if options.space is not None:
        choose("space", options.space, SPACES)
    positive("steps", options.steps)
    positive("restarts", options.restarts)
    for name in ("lr", "noise", "regularizer"):
        value = getattr(options, name)
        if not (0 <= value < float("inf")) or (name == "lr" and value == 0):
            raise BadInput(f"{name}={value} must be {'above' if name == 'lr' else 'at least'} 0.")


def invert(
    method: Method,
    state: PyTree,
    x: Float[Array, "n *shape"],
    label: Int[Array, " n"] | None,
    preprocess: Preprocess,
    key: Key[Array, ""],
    options: Options,
) -> Inverted:
    """Find the code of each image by Adam, from several starts.

    The result of an image depends on the key and its place, not on the other images.

    Args:
        x: preprocessed images or points.
        label: their classes; None: the method is unconditional.
        preprocess: of which `pixels` makes what LPIPS compares.

    Raises:
        BadInput: an option is not valid, the method has no such codes, or nothing is finite.
    """
    check(options)
    name = options.space or ("w" if styles.has_styles(method) else "z")
    space = SPACES[name](method, options)
    distance = DISTANCES[options.distance](preprocess, x.shape[1:])
    search = jax.jit(partial(_search, space, distance, options))
    spread = jax.jit(partial(_spread, space))(state, named_key(key, "spread"), label)
    size = max(1, VALUES_AT_ONCE // (options.restarts * int(np.prod(x.shape[1:]))))
    size, found = min(size, len(x)), []
    for first in with_progress("inversion", range(0, len(x), size)):
        at = np.minimum(np.arange(first, first + size), len(x) - 1)  # one shape, one compilation
        own = None if label is None else label[at]
        ends = search(state, spread, x[at], own, jnp.asarray(at), named_key(key, "starts"))
        found.append(jax.tree.map(np.asarray, ends))
    best = Inverted(*(np.concatenate(parts)[: len(x)] for parts in zip(*found, strict=True)))
    if not np.isfinite(best.distances).all():
        raise BadInput(f"no code gives a finite image: the run has diverged, or lr={options.lr}.")
    return best


def _spread(space: Space, state: PyTree, key: Key[Array, ""], label: Any) -> Float[Array, ""]:
    """Return the root of the mean squared distance of codes from their mean."""
    own = None if label is None else label[jnp.arange(DRAWS) % len(label)]
    codes = space.starts(state, jax.random.split(key, DRAWS), jnp.ones(DRAWS, jnp.int32), own)
    return jnp.sqrt(((codes - space.center(state)[None]) ** 2).sum(axis=1).mean())


def _search(
    space: Space,
    distance: Distance,
    options: Options,
    state: PyTree,
    spread: Float[Array, ""],
    x: Float[Array, "n *shape"],
    label: Int[Array, " n"] | None,
    places: Int[Array, " n"],
    key: Key[Array, ""],
) -> Inverted:
    """Optimize `restarts` codes of each image together; return the best of each."""
    n, restarts = x.shape[0], options.restarts
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (None, 0))
    keys = fold(jax.vmap(partial(jax.random.fold_in, key))(places), jnp.arange(restarts)).reshape(
        -1
    )
    restart = jnp.repeat(jnp.arange(restarts), n)
    tile = lambda a: jnp.tile(a, (restarts, *[1] * (a.ndim - 1)))  # noqa: E731
    given, own = tile(x), None if label is None else tile(label)
    tx = optax.adam(partial(_rate, options))

    def losses(codes: Float[Array, "m d"]) -> tuple[Float[Array, " m"], Float[Array, "m *shape"]]:
        decoded = space.decode(state, codes, own)
        return distance(decoded, given), decoded

    def loss(codes: Float[Array, "m d"], noise: Float[Array, "m d"]) -> Float[Array, ""]:
        total = losses(codes + noise)[0]
        if options.regularizer:
            total += options.regularizer * space.penalty(state, codes, spread)
        return total.sum()

    def step(carry: tuple[Array, PyTree], i: Int[Array, ""]) -> tuple[tuple[Array, PyTree], None]:
        codes, opt = carry
        normal = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, i), codes.shape[1:]))
        scale = options.noise * spread * jnp.maximum(0, 1 - i / options.steps / NOISY) ** 2
        updates, opt = tx.update(jax.grad(loss)(codes, scale * normal(keys)), opt)
        return (optax.apply_updates(codes, updates), opt), None

    codes = space.starts(state, keys, restart, own)
    (codes, _), _ = jax.lax.scan(step, (codes, tx.init(codes)), jnp.arange(options.steps))
    found, decoded = losses(codes)
    best = jnp.argmin(jnp.nan_to_num(found.reshape(restarts, n), nan=jnp.inf), axis=0)
    pick = best * n + jnp.arange(n)
    return Inverted(codes[pick], decoded[pick], found[pick])


def _rate(options: Options, step: Int[Array, ""]) -> Float[Array, ""]:
    """Return the learning rate: a linear rise, and a fall along a cosine."""
    t = step / options.steps
    fall = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1, (1 - t) / FALL))
    return options.lr * fall * jnp.minimum(1, (t + 1 / options.steps) / RISE)


def _codes(method: Method, options: Options) -> Space:
    """Make the space of codes, which start at draws from the prior."""
    codes, decode = (probe(method, name) for name in ("codes", "decode"))
    log_prior = probe(method, "log_prior") if options.regularizer else None

    def starts(
        state: PyTree, keys: Key[Array, " n"], restart: Int[Array, " n"], label: Any
    ) -> Float[Array, "n d"]:
        return jax.vmap(lambda key: codes(state, key, 1)[0])(keys)

    def center(state: PyTree) -> Float[Array, " d"]:
        return codes(state, jax.random.key(0), DRAWS).mean(axis=0)

    def penalty(
        state: PyTree, z: Float[Array, "n d"], spread: Float[Array, ""]
    ) -> Float[Array, " n"]:
        assert log_prior is not None
        return -log_prior(state, z[None])[0]

    return Space(starts, partial(_decode, decode), center, penalty)


def _decode(
    decode: Callable[..., Array], state: PyTree, z: Float[Array, "n d"], label: Any
) -> Float[Array, "n *shape"]:
    return decode(state, z) if label is None else decode(state, z, label)


def _styles(method: Method, options: Options) -> Space:
    """Make the space of styles; the first start is the mean style, others are of codes."""
    if not styles.has_styles(method):
        raise BadInput("space='w' needs styles, which this method has not. Valid: z.")
    codes, style, decode, mean = (probe(method, name) for name in ("codes", *styles.STYLE))

    def starts(
        state: PyTree, keys: Key[Array, " n"], restart: Int[Array, " n"], label: Any
    ) -> Float[Array, "n d"]:
        w = style(state, jax.vmap(lambda key: codes(state, key, 1)[0])(keys), label)
        return jnp.where((restart == 0)[:, None], mean(state)[None], w)

    def penalty(
        state: PyTree, w: Float[Array, "n d"], spread: Float[Array, ""]
    ) -> Float[Array, " n"]:
        return ((w - mean(state)[None]) ** 2).sum(axis=1) / spread**2

    return Space(starts, lambda state, w, label: decode(state, w), mean, penalty)


SPACES: dict[str, Callable[[Method, Options], Space]] = {"z": _codes, "w": _styles}


def _squared(preprocess: Preprocess, shape: tuple[int, ...]) -> Distance:
    return lambda x, y: ((x - y) ** 2).reshape(x.shape[0], -1).sum(axis=1)


def _lpips(preprocess: Preprocess, shape: tuple[int, ...]) -> Distance:
    """Make LPIPS by AlexNet, of pixels.

    Raises:
        BadInput: these are points, or the weights are not installed.
    """
    if len(shape) != 3:
        raise BadInput("distance='lpips' compares images; these are points. Valid: squared.")
    name = imagenet.ALEXNET.name
    loaded = pretrained.load(name)
    layers = partial(imagenet.activations, imagenet.NETWORKS[name], loaded.params)
    return lambda x, y: lpips(
        layers(preprocess.pixels(x)), layers(preprocess.pixels(y)), loaded.linear
    )


DISTANCES: dict[str, Callable[[Preprocess, tuple[int, ...]], Distance]] = {
    "squared": _squared,
    "lpips": _lpips,
}
