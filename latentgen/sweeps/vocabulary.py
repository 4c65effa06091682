"""The functions that describe a sweep; `get_sweep(h)` gets this module as `h`.

    def get_sweep(h):
        return h.product([
            h.sweep("config.method.loss", ["minimax", "nonsaturating"]),
            h.zipit([
                h.loguniform("config.generator_optimizer.lr", h.interval(1e-5, 1e-2)),
                h.loguniform("config.discriminator_optimizer.lr", h.interval(1e-5, 1e-2)),
            ], length=20),
        ])

A series is a function of an index and a seed. A random value depends only on the seed, the index
and the name of its key, not on the other keys of the sweep.
"""

import itertools
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from latentgen.core.errors import BadInput

Row = dict[str, Any]
"""The changes of one run: 'config.a.b' -> value."""

Number = int | float
Interval = tuple[Number, Number]


class Series(NamedTuple):
    """A sequence of rows.

    row: (index, seed of random values) -> row
    length: number of rows; None: unlimited
    """

    row: Callable[[int, int], Row]
    length: int | None

    def rows(self, seed: int) -> list[Row]:
        """Return all rows.

        Raises:
            BadInput: the length is unlimited.
        """
        if self.length is None:
            key = next(iter(self.row(0, seed)))
            raise BadInput(f"{key} is drawn without an end; give a length, or zip it with one.")
        return [self.row(i, seed) for i in range(self.length)]


def interval(low: Number, high: Number) -> Interval:
    """Return the interval from `low` to `high`."""
    return low, high


def discrete(values: Sequence[Any]) -> list[Any]:
    """Return a list of values: `sweep` takes them in turn, `uniform` with equal probability."""
    return list(values)


def sweep(key: str, values: Sequence[Any]) -> Series:
    """Take each of the values in turn."""
    values = list(values)
    if not values:
        raise BadInput(f"{key} is swept over no value; give it at least one.")
    return Series(lambda i, seed: {key: values[i]}, len(values))


def fixed(key: str, value: Any, length: int | None = 1) -> Series:
    """Take the same value in every row."""
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


def _merge(rows: Sequence[Row]) -> Row:
    merged: Row = {}
    for row in rows:
        if common := merged.keys() & row.keys():
            raise BadInput(f"{', '.join(sorted(common))} is swept twice; a run has it once.")
        merged |= row
    return merged


def product(series: Sequence[Series], length: int | None = None) -> Series:
    """Combine every row of a series with every row of the others; the last one varies fastest.

    Raises:
        BadInput: a series is unlimited.
    """
    for one in series:
        if one.length is None:
            one.rows(0)  # raises
    lengths = [one.length or 0 for one in series]

    def row(i: int, seed: int) -> Row:
        indices = np.unravel_index(i, lengths) if lengths else ()
        return _merge([s.row(int(p), seed) for s, p in zip(series, indices, strict=True)])

    return Series(row, _limit(math.prod(lengths), length))


def zipit(series: Sequence[Series], length: int | None = None) -> Series:
    """Combine the first rows of all series, the second rows, ...; unlimited series fit any length.

    Raises:
        BadInput: two series have different lengths.
    """
    lengths = {one.length for one in series} - {None}
    if len(lengths) > 1:
        keys = ", ".join(f"{'/'.join(s.row(0, 0))}: {s.length}" for s in series if s.length)
        raise BadInput(f"zip goes through all keys together, but there are {keys} values.")
    found = next(iter(lengths), None)
    return Series(
        lambda i, seed: _merge([s.row(i, seed) for s in series]),
        length if found is None else _limit(found, length),
    )


def chainit(series: Sequence[Series]) -> Series:
    """Concatenate the rows of the series."""
    ends = list(itertools.accumulate(len(one.rows(0)) for one in series))

    def row(i: int, seed: int) -> Row:
        which = next(k for k, end in enumerate(ends) if i < end)
        return series[which].row(i - (ends[which - 1] if which else 0), seed)

    return Series(row, ends[-1] if ends else 0)


def _limit(available: int, length: int | None) -> int:
    return available if length is None else min(available, length)
