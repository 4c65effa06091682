"""Features of images or points, with what identifies them."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float

Pixels = Float[Array, "n h w c"]


class Extractor(NamedTuple):
    """Features by a name that identifies them.

    sha256: SHA-256 of the weights; None for pixels
    images: description of the preprocessing of an image
    features: pixels in [0, 1], or points -> (n, f)
    logits: pixels -> (n, planes, classes); None if it has no classes
    """

    name: str
    sha256: str | None
    images: str
    features: Callable[[Float[Array, "n *shape"]], Float[Array, "n f"]]
    logits: Callable[[Pixels], Float[Array, "n p classes"]] | None

    @property
    def stamp(self) -> dict[str, str | None]:
        """The entries that identify the features in a result."""
        return {
            "features": self.name,
            "features_sha256": self.sha256 and self.sha256[:16],
            "images_are": self.images,
        }


Maker = Callable[[tuple[int, ...], str | None], Extractor]
"""(shape of an example, file with weights or None) -> its features."""
