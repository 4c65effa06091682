"""Rendered figures with known factors, see `latentgen.data.sprites`."""

from latentgen.core.errors import BadInput
from latentgen.data import sprites
from latentgen.data.dataset import DataSet, Examples
from latentgen.data.sources.base import Request, Source

SIZE = 32  # pixels, by default


def _sprites(request: Request) -> DataSet:
    color, size = request.color != "grey", request.size or SIZE
    if not sprites.SMALLEST <= size <= sprites.LARGEST:
        raise BadInput(
            f"config.data.size={size} must be from {sprites.SMALLEST} to {sprites.LARGEST} for "
            "config.data.name='sprites'."
        )
    splits = {}
    for split in sprites.SIZES:
        x, factors = sprites.sprites(split, size, color)
        splits[split] = Examples(x, factors[:, 0].copy(), factors)
    values = {name: sprites.FACTORS[name] for name in sprites.factor_names(color)}
    return DataSet("sprites", "1", "rendered", splits, sprites.SHAPES, values)


SOURCES = {"sprites": Source(_sprites, held_out=5_000, sized=True)}
