"""Control of the probability p of augmentations by how far the discriminator overfits.

Reference: Karras et al. 2020, section 3 (arXiv:2006.06676).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

State = dict[str, Array]
"""p: the probability; signs: sum of the minibatch means of sign(l) since p last changed; updates:
their number."""


class Control(NamedTuple):
    """Control of p: after every `interval` updates of D, p changes by n / `images`.

    n is the number of real images in these updates. p rises if r = E sign(l(x)) over real x is
    above the target; it falls, at most to 0, if r is below.

    target: of r, in [-1, 1]; r = 0 if D cannot tell, 1 if it classifies all real examples as real
    interval: number of updates of D between two changes of p; with `microbatches` each part of a
        minibatch counts as one update
    images: number of real images in which p can rise from 0 to 1
    """

    target: float | Float[Array, ""]
    interval: int = 4
    images: float | Float[Array, ""] = 500e3


def init(p: float | Float[Array, ""]) -> State:
    """Return the state before the first update, with this p."""
    return {
        "p": jnp.asarray(p, jnp.float32),
        "signs": jnp.zeros((), jnp.float32),
        "updates": jnp.zeros((), jnp.int32),
    }


def update(control: Control, state: State, logits: Float[Array, " g"], images: int) -> State:
    """Return the state after an update of D.

    Args:
        logits: of the real examples, augmented, as D saw them in this update.
        images: number of these examples.

    Reference: Karras et al. 2020, equation 1, r_t (arXiv:2006.06676).
    """
    signs = state["signs"] + jnp.sign(logits).mean(dtype=jnp.float32)
    updates = state["updates"] + 1
    due = updates == control.interval
    move = jnp.sign(signs / control.interval - control.target) * (images * control.interval)
    p = jnp.maximum(state["p"] + move / control.images, 0.0)
    return {
        "p": jnp.where(due, p, state["p"]).astype(jnp.float32),
        "signs": jnp.where(due, 0.0, signs),
        "updates": jnp.where(due, 0, updates),
    }
