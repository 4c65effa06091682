"""Moving pictures of a closed path through codes, as GIF or WebP."""

import io
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from latentgen.core.errors import BadInput
from latentgen.core.types import Method, PyTree
from latentgen.evaluation import styles, views
from latentgen.training.classes import captions
from latentgen.training.hooks import GAP
from latentgen.training.pictures import Image, grid
from latentgen.training.setup import Run

FORMATS = {".gif": "GIF", ".webp": "WEBP"}
FASTEST = 50  # frames a second: a GIF counts hundredths of a second, and viewers slow down 1
QUALITY = 90  # of WebP


def loop(
    method: Method,
    state: PyTree,
    key: Key[Array, ""],
    stops: int,
    frames: int,
    label: int | None = None,
) -> Shaped[np.ndarray, "n *shape"]:
    """Decode a closed path through codes of the prior.

    Under the prior N(0, I) a piece of the path is an arc (`spherical`); with styles it is straight
    between two styles; under any other prior straight between two codes.

    Args:
        stops: number of codes; the path leads from the last to the first.
        frames: number of steps from one to the next.
        label: class of all; None: unconditional.

    Returns:
        x of shape (stops * frames, *shape).

    Raises:
        BadInput: the method has no codes.
    """
    z = views.prior(method, state, key, stops)
    classes = None if label is None else jnp.full(stops, label, jnp.int32)
    between = spherical if styles.has_normal_prior(method, state) else straight
    if styles.has_styles(method):
        z, between = method.probes["style"](state, z, classes), straight
        method = styles.decoding_styles(method)
    t = jnp.linspace(0.0, 1.0, frames, endpoint=False)
    path = between(z, jnp.roll(z, -1, axis=0), t).reshape(stops * frames, -1)
    of_each = None if label is None else jnp.full(len(path), label, jnp.int32)
    return views.decoded(method, state, path, of_each)


def pictures(
    run: Run, state: PyTree, key: Key[Array, ""], stops: int, frames: int, classes: Sequence[int]
) -> list[Image]:
    """Draw each step of `loop`; of a conditional method an image of each of these classes."""
    label_of = classes or (None,)
    x = [loop(run.method, state, key, stops, frames, label) for label in label_of]
    names = captions(run, np.array(classes, np.int32))
    pixels = run.experiment.data.preprocess.pixels
    return [grid(np.asarray(pixels(each)), None, GAP, names) for each in np.stack(x, axis=1)]


def straight(
    a: Float[Array, "n d"], b: Float[Array, "n d"], t: Float[Array, " t"]
) -> Float[Array, "n t d"]:
    """Return (1 - t) a + t b."""
    t = t[None, :, None]
    return (1 - t) * a[:, None] + t * b[:, None]


def spherical(
    a: Float[Array, "n d"], b: Float[Array, "n d"], t: Float[Array, " t"]
) -> Float[Array, "n t d"]:
    """Interpolate along an arc: (sin((1 - t) angle) a + sin(t angle) b) / sin(angle).

    The angle is that between a and b. Where they are parallel, or opposite, it is straight.

    Reference: White 2016, section 2.1 (arXiv:1609.04468).
    """
    norms = jnp.linalg.norm(a, axis=1) * jnp.linalg.norm(b, axis=1)
    cos = jnp.clip((a * b).sum(axis=1) / jnp.maximum(norms, 1e-12), -1.0, 1.0)
    angle = jnp.arccos(cos)[:, None, None]
    sin, t = jnp.sin(angle), t[None, :, None]
    flat = sin < 1e-3
    safe = jnp.where(flat, 1.0, sin)
    arc = (jnp.sin((1 - t) * angle) * a[:, None] + jnp.sin(t * angle) * b[:, None]) / safe
    return jnp.where(flat, straight(a, b, t[0, :, 0]), arc)


def check(file: str, fps: int) -> str:
    """Return the format of a file, 'GIF' or 'WEBP'.

    Raises:
        BadInput: its name has another ending, this Pillow cannot write it, or `fps` is too high.
    """
    import PIL.features

    if (suffix := Path(file).suffix) not in FORMATS:
        raise BadInput(f"--video={file!r} must end in {' or '.join(FORMATS)}.")
    if suffix == ".webp" and not PIL.features.check("webp"):
        raise BadInput(f"--video={file!r}: this Pillow cannot write WebP. Valid: .gif.")
    if not 1 <= fps <= FASTEST:
        raise BadInput(f"--fps={fps} must be in 1 .. {FASTEST}.")
    return FORMATS[suffix]


def encoded(frames: Sequence[Image], fps: int, kind: str) -> bytes:
    """Encode frames of one size as a moving picture that repeats forever.

    Args:
        kind: 'GIF' or 'WEBP'. A GIF shows each frame for a multiple of 10 ms.
    """
    import PIL.Image

    first, *rest = [
        PIL.Image.fromarray(each.squeeze(-1) if each.shape[-1] == 1 else each) for each in frames
    ]
    duration, buffer = round(100 / fps) * 10 if kind == "GIF" else round(1000 / fps), io.BytesIO()
    options = {"quality": QUALITY} if kind == "WEBP" else {}
    first.save(
        buffer, kind, save_all=True, append_images=rest, duration=duration, loop=0, **options
    )
    return buffer.getvalue()
