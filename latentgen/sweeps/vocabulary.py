"""The words in which a sweep is described: what `get_sweep(h)` is handed as `h`.

    def get_sweep(h):
        return h.product([
            h.sweep("config.method.loss", ["minimax", "nonsaturating"]),
            h.zipit([
                h.loguniform("config.generator_optimizer.lr", h.interval(1e-5, 1e-2)),
                h.loguniform("config.discriminator_optimizer.lr", h.interval(1e-5, 1e-2)),
            ], length=20),
        ])

A series is a function of a place and of the draws' seed, so that what is drawn at a place depends
on the key's name and on nothing else that is swept.
"""

import itertools
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from latentgen.core.errors import BadInput

Row = dict[str, Any]
"""What one run changes: 'config.a.b' -> value."""

Number = int | float
Interval = tuple[Number, Number]


class Series(NamedTuple):
    """Rows by place.

    row: (place, seed of the draws) -> row
    length: how many; None for as many as are asked for
    """

    row: Callable[[int, int], Row]
    length: int | None

    def rows(self, seed: int) -> list[Row]:
        """All of them.

        Raises:
            BadInput: there is no saying how many.
        """
        if self.length is None:
            key = next(iter(self.row(0, seed)))
            raise BadInput(f"{key} is drawn without an end; give a length, or zip it with one.")
        return [self.row(i, seed) for i in range(self.length)]


def interval(low: Number, high: Number) -> Interval:
    """The numbers from `low` to `high`."""
    return low, high


def discrete(values: Sequence[Any]) -> list[Any]:
    """These values, for `sweep` in turn, for `uniform` each with the same probability."""
    return list(values)


def sweep(key: str, values: Sequence[Any]) -> Series:
    """Each of the values in turn."""
    values = list(values)
    if not values:
        raise BadInput(f"{key} is swept over no value; give it at least one.")
    return Series(lambda i, seed: {key: values[i]}, len(values))


def fixed(key: str, value: Any, length: int | None = 1) -> Series:
    """The same value everywhere."""
    return Series(lambda i, seed: {key: value}, length)


def _drawn(key: str, value: Callable[[float], Any], length: int | None) -> Series:
    def row(i: int, seed: int) -> Row:
        u = np.random.default_rng([seed, zlib.crc32(key.encode()), i]).uniform()
        return {key: value(u)}

    return Series(row, length)


def uniform(key: str, domain: Sequence[Any], length: int | None = None) -> Series:
    """Draw from an interval, or from a list of values (`discrete`)."""
    if isinstance(domain, list):
        if not domain:
            raise BadInput(f"{key} is drawn from no value; give it at least one.")
        return _drawn(key, lambda u: domain[int(u * len(domain))], length)
    low, high = _bounds(key, domain)
    return _drawn(key, lambda u: low + (high - low) * u, length)


def loguniform(key: str, domain: Sequence[Any], length: int | None = None) -> Series:
    """Draw from an interval, uniform in the logarithm."""
    low, high = _bounds(key, domain)
    if low <= 0:
        raise BadInput(f"{key}=loguniform({low:g}, {high:g}) must begin above 0.")
    return _drawn(key, lambda u: math.exp(math.log(low) * (1 - u) + math.log(high) * u), length)


def _bounds(key: str, domain: Sequence[Any]) -> Interval:
    try:
        low, high = map(float, domain)
    except (TypeError, ValueError):
        raise BadInput(f"{key} is drawn from {domain!r}, which is no interval.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise BadInput(f"{key} is drawn from ({low:g}, {high:g}); the second must be larger.")
    return low, high


def _joined(rows: Sequence[Row]) -> Row:
    joined: Row = {}
    for row in rows:
        if twice := joined.keys() & row.keys():
            raise BadInput(f"{', '.join(sorted(twice))} is swept twice; a run has it once.")
        joined |= row
    return joined


def product(series: Sequence[Series], length: int | None = None) -> Series:
    """Every row of one with every row of the others; the last runs fastest.

    Raises:
        BadInput: one has no length.
    """
    for each in series:
        if each.length is None:
            each.rows(0)  # raises
    lengths = [each.length or 0 for each in series]

    def row(i: int, seed: int) -> Row:
        places = np.unravel_index(i, lengths) if lengths else ()
        return _joined([s.row(int(p), seed) for s, p in zip(series, places, strict=True)])

    return Series(row, _cut(math.prod(lengths), length))


def zipit(series: Sequence[Series], length: int | None = None) -> Series:
    """The first rows together, the second rows together, ...; draws last as long as the others.

    Raises:
        BadInput: two have different lengths.
    """
    lengths = {each.length for each in series} - {None}
    if len(lengths) > 1:
        keys = ", ".join(f"{'/'.join(s.row(0, 0))}: {s.length}" for s in series if s.length)
        raise BadInput(f"zip goes through all keys together, but there are {keys} values.")
    found = next(iter(lengths), None)
    return Series(
        lambda i, seed: _joined([s.row(i, seed) for s in series]),
        length if found is None else _cut(found, length),
    )


def chainit(series: Sequence[Series]) -> Series:
    """The rows of one after the rows of another."""
    ends = list(itertools.accumulate(len(each.rows(0)) for each in series))

    def row(i: int, seed: int) -> Row:
        which = next(k for k, end in enumerate(ends) if i < end)
        return series[which].row(i - (ends[which - 1] if which else 0), seed)

    return Series(row, ends[-1] if ends else 0)


def _cut(there: int, length: int | None) -> int:
    return there if length is None else min(there, length)
