"""Augmentations T of what the discriminator sees in training, by name; D(T(x)) is differentiable.

| name                     | T                                                                    |
|--------------------------|----------------------------------------------------------------------|
| diffaugment:POLICIES     | applies the named policies to each image: color, translation, cutout |
| diffaugment              | diffaugment:color,translation,cutout                                 |
| ada:GROUPS               | applies each operation of the named groups with probability p to     |
|                          | each image: blit, geom, color, filter, noise, cutout; bgc (the first |
|                          | three), r3gan (Huang et al. 2024)                                    |
| ada                      | ada:bgc                                                              |

Real and synthetic examples go through independent draws of the same T, so that G learns the data
and not their augmentations.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Key

from latentgen.core.errors import BadInput, choose, written
from latentgen.core.keys import named_key
from latentgen.core.types import Net, PyTree
from latentgen.objectives.augment import ada, diffaugment
from latentgen.objectives.augment.control import Control

KEY = "config.method.augment"
Transform = Callable[
    [Float[Array, "n *shape"], Key[Array, ""], float | Float[Array, ""]],
    Float[Array, "n *shape"],
]


class Augmentation(NamedTuple):
    """An augmentation of what the discriminator sees.

    transform: (x, key, p) -> x of the same shape
    p: probability of each operation; None where the transform has no such probability
    control: adapts the probability in training, starting at p; None: the probability is p
    """

    transform: Transform
    p: float | Float[Array, ""] | None = None
    control: Control | None = None

    def probability(self, stats: Mapping[str, Any]) -> float | Float[Array, ""] | None:
        """Return p; `stats` has the control's state as 'augment'."""
        return self.p if self.control is None else stats["augment"]["p"]

    def at(
        self, stats: Mapping[str, Any]
    ) -> Callable[[Float[Array, "g m *shape"], Key[Array, ""]], Float[Array, "g m *shape"]]:
        """Return T for groups of x; each x has its own random draws."""
        p = self.probability(stats)

        def of_groups(
            x: Float[Array, "g m *shape"], key: Key[Array, ""]
        ) -> Float[Array, "g m *shape"]:
            flat = x.reshape(-1, *x.shape[2:])
            return self.transform(flat, key, 0.0 if p is None else p).reshape(x.shape)

        return of_groups


def augmented(net: Net, augmentation: Augmentation | None) -> Net:
    """Put an augmentation with constant p before a network, in training only.

    Args:
        augmentation: None: the network is returned as it is.
    """
    if augmentation is None:
        return net
    seen = augmentation

    def apply(
        params: PyTree,
        stats: PyTree,
        x: Float[Array, "n *shape"],
        *inputs: Array,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Array, PyTree]:
        if train:
            if key is None:
                raise ValueError("an augmented network needs a key in training.")
            x = seen.at({})(x[:, None], named_key(key, "augment"))[:, 0]
        return net.apply(params, stats, x, *inputs, train=train, key=key)

    return net._replace(apply=apply, features=None)


class Kind(NamedTuple):
    """A row of `AUGMENTATIONS`.

    make: (names after the colon, or None) -> transform of images in [-1, 1]
    has_p: True if the transform's operations have a probability p
    """

    make: Callable[[list[str] | None], Transform]
    has_p: bool = False


def has_probability(name: str) -> bool:
    """Return whether the operations of this augmentation have a probability p."""
    return name != "none" and _kind(name).has_p


def _kind(name: str) -> Kind:
    return choose(KEY, name.partition(":")[0], {"none": Kind(_none)} | AUGMENTATIONS)


def transform(name: str, range: tuple[float, float] | None) -> Transform:
    """Make the augmentation of this name for images in an interval.

    Augmentations are defined for images in [-1, 1], where cutout and translation fill with 0.
    Images in another interval are mapped to [-1, 1] and back.

    Args:
        name: a name in the table above.
        range: interval of x; None if it is unbounded.

    Raises:
        BadInput: the name is unknown, or x is unbounded; when the transform is called or traced: x
            is not images, or the augmentation cannot treat their number of channels.
    """
    _, _, argument = name.partition(":")
    make = _kind(name).make
    if range is None:
        raise BadInput(
            f"{KEY}={written(name)} needs images in a bounded range, such as those of "
            "config.data.preprocess='unit' or 'signed'. Valid here: none."
        )
    middle, half = sum(range) / 2, (range[1] - range[0]) / 2
    apply = make(argument.split(",") if argument else None)

    def within(
        x: Float[Array, "n *shape"], key: Key[Array, ""], p: float | Float[Array, ""]
    ) -> Float[Array, "n *shape"]:
        if x.ndim != 4:
            raise BadInput(f"{KEY}={name!r} needs images, not examples of shape {x.shape[1:]}.")
        return apply((x - middle) / half, key, p) * half + middle

    return within


def _none(names: list[str] | None) -> Transform:
    return lambda x, key, p: x


def _diffaugment(policies: list[str] | None) -> Transform:
    policies = _distinct(policies or list(diffaugment.POLICIES), diffaugment.POLICIES)
    operations = [each for policy in policies for each in diffaugment.POLICIES[policy]]

    def apply(x: Array, key: Key[Array, ""], p: Any) -> Array:
        n, height, width, _ = x.shape
        draws = diffaugment.draw(key, n, (height, width), operations)
        return diffaugment.transform(x, draws)

    return apply


def _ada(groups: list[str] | None) -> Transform:
    strengths: dict[str, float] = {}
    for group in _distinct(groups or ["bgc"], ada.GROUPS):
        if both := sorted(strengths.keys() & ada.GROUPS[group].keys()):
            raise BadInput(f"{KEY}: {group!r} names {both[0]!r} once more.")
        strengths |= ada.GROUPS[group]
    return lambda x, key, p: ada.augment(x, key, p, strengths)


def _distinct(names: list[str], valid: Iterable[str]) -> list[str]:
    """Return the names, stripped.

    Raises:
        BadInput: a name is unknown, or given twice.
    """
    names = [name.strip() for name in names]
    for i, name in enumerate(names):
        choose(KEY, name, dict.fromkeys(valid))
        if name in names[:i]:
            raise BadInput(f"{KEY}: {name!r} is there twice.")
    return names


AUGMENTATIONS: dict[str, Kind] = {
    "diffaugment": Kind(_diffaugment),
    "ada": Kind(_ada, has_p=True),
}
"""Name in a config, before the colon -> kind of augmentation."""
