"""Hyperparameters that change with the number of images seen in training.

`wrappers.scheduled` trains a method with them. In a config a schedule is a string:
`cosine(0.05, 0.005, images=20e6)`.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput

Images = int | float | Array
"""Number of images seen before an update."""


def _cosine(u: Float[Array, ""]) -> Float[Array, ""]:
    return (1 - jnp.cos(jnp.pi * u)) / 2


SHAPES: dict[str, Callable[[Float[Array, ""]], Float[Array, ""]]] = {
    "cosine": _cosine,
    "linear": lambda u: u,
}
"""Name -> s: [0, 1] -> [0, 1], s(0) = 0, s(1) = 1; see `Schedule`."""


class Schedule(NamedTuple):
    """Value first + (last - first) s(min(n / images, 1)) after n images, s of `SHAPES`.

    It moves from `first` to `last` along half a cosine or a line, and stays at `last`.

    shape: name of s in `SHAPES`
    images: number of images after which the value is `last`
    """

    shape: str
    first: float
    last: float
    images: float

    def __call__(self, images: Images) -> Float[Array, ""]:
        """Return the value after a number of images."""
        u = jnp.clip(jnp.asarray(images, jnp.float32) / self.images, 0.0, 1.0)
        value = self.first + (self.last - self.first) * SHAPES[self.shape](u)
        return jnp.where(u >= 1, jnp.float32(self.last), value)


def is_zero(value: Any) -> bool:
    """Return whether a hyperparameter is the number 0, which switches off what it weighs."""
    return isinstance(value, int | float) and value == 0


NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
PATTERN = re.compile(
    rf"\s*(\w+)\(\s*({NUMBER})\s*,\s*({NUMBER})\s*,\s*images\s*=\s*({NUMBER})\s*\)\s*"
)


def is_schedule(text: str) -> bool:
    """Return whether a text looks like a schedule: a word and an opening parenthesis."""
    return re.match(r"\s*[A-Za-z_]+\s*\(", text) is not None


def parse(text: str) -> Schedule:
    """Parse 'cosine(FIRST, LAST, images=NUMBER)'.

    Raises:
        BadInput: the text is not a schedule.
    """
    found = PATTERN.fullmatch(text)
    if found is None or found[1] not in SHAPES or not float(found[4]) > 0:
        valid = " or ".join(f"{shape}(FIRST, LAST, images=NUMBER)" for shape in SHAPES)
        raise BadInput(f"{text!r} is no schedule: it must be {valid}, with images above 0.")
    return Schedule(found[1], *(float(number) for number in found.groups()[1:]))
