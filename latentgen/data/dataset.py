"""A data set: named splits of examples in memory or in mapped files, and its identity."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from latentgen.core.errors import BadInput

SPLITS = ("train", "validation", "test")
HELD_OUT = 5_000
"""Most examples that are held out for validation unless the user says how many."""


class Examples(NamedTuple):
    """A split: images or points, their labels and, where a set has them, their factors.

    x: uint8 (n, h, w, c) or float32 (n, 2); it may be mapped from a file, of any size
    label: int32 (n,), 0 without classes
    factors: int32 (n, k), the index of each ground-truth factor's value; None if not known
    """

    x: np.ndarray
    label: np.ndarray
    factors: np.ndarray | None = None


class LazySplits(Mapping[str, Examples]):
    """Splits that are loaded at first use, with known shape and dtype.

    shape, dtype: shape and dtype of a raw example.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype,
        load: Callable[[], Mapping[str, Examples]],
    ) -> None:
        self.shape, self.dtype, self._load = shape, dtype, load
        self._found: Mapping[str, Examples] | None = None

    def _splits(self) -> Mapping[str, Examples]:
        if self._found is None:
            self._found = self._load()
        return self._found

    def __getitem__(self, split: str) -> Examples:
        return self._splits()[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits())

    def __len__(self) -> int:
        return len(self._splits())


class DataSet(NamedTuple):
    """A data set: name, version, a description of its origin, and splits.

    classes: names of the labels; () if they have none
    factors: ground-truth factor -> number of its values, in the order of `Examples.factors`
    sha256: that of `identity`, if it was computed when the arrays were written; else None
    by_content: training examples are sorted by content, so that equal ones are neighbours
    """

    name: str
    version: str
    origin: str
    splits: Mapping[str, Examples]
    classes: tuple[str, ...] = ()
    factors: Mapping[str, int] = {}
    sha256: str | None = None
    by_content: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        if isinstance(self.splits, LazySplits):
            return self.splits.shape
        return tuple(self.splits["train"].x.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """uint8 for images, float32 for points."""
        if isinstance(self.splits, LazySplits):
            return self.splits.dtype
        return np.dtype(self.splits["train"].x.dtype)


def as_bytes(x: np.ndarray) -> np.ndarray:
    """Convert images to uint8; floats in [0, 1] are rounded to 256 levels.

    Raises:
        BadInput: they are neither uint8 nor floats in [0, 1].
    """
    if x.dtype == np.uint8:
        return x
    if not np.issubdtype(x.dtype, np.floating) or not ((x >= 0) & (x <= 1)).all():
        raise BadInput(f"images of {x.dtype} must be uint8, or floats in [0, 1].")
    return np.rint(x * 255).astype(np.uint8)


ARRAYS = "arrays"
"""Name of data sets that are given as arrays in Python."""


def from_arrays(
    x: np.ndarray, label: np.ndarray | None = None, *, validation: int | None = None
) -> DataSet:
    """Make a data set of arrays, with the splits 'train' and 'validation'.

    Args:
        x: images (n, h, w, c) or (n, h, w) as uint8 or as floats in [0, 1], which are rounded to
            256 levels; or points (n, d).
        label: (n,) whole numbers from 0; None: no classes.
        validation: how many of the last examples are held out; None: a tenth.

    Raises:
        BadInput: the arrays have another dtype or shape, or different lengths.
    """
    x = np.asarray(x)
    images = x.ndim in (3, 4)
    if x.ndim not in (2, 3, 4) or not len(x):
        raise BadInput(
            f"data of shape {x.shape} must be images (n, h, w, c) or (n, h, w), or points (n, d)."
        )
    x = x[..., None] if x.ndim == 3 else x
    if images:
        x = as_bytes(x)
    else:
        x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise BadInput("points must be finite.")
    label = checked_label(label, len(x))
    whole = {"train": Examples(np.ascontiguousarray(x), label)}
    return hold_out(DataSet(ARRAYS, "1", "given in Python", whole), validation, len(x) // 10)


MOST_LABEL = np.iinfo(np.int32).max


def checked_label(label: np.ndarray | None, n: int) -> np.ndarray:
    """Convert labels of n examples to int32; None becomes zeros.

    Raises:
        BadInput: they are not n whole numbers from 0, or too large for int32.
    """
    label = np.zeros(n, np.int32) if label is None else np.asarray(label)
    whole = label.shape == (n,) and np.issubdtype(label.dtype, np.integer)
    if not whole or label.min() < 0 or label.max() > MOST_LABEL:
        raise BadInput(
            f"labels of {label.dtype} {label.shape} must be {n} whole numbers in 0 .. {MOST_LABEL}."
        )
    return label.astype(np.int32)


def identity(dataset: DataSet, preprocess: str) -> dict[str, Any]:
    """Return name, version, preprocessing, split sizes and sha256 of the data as plain JSON.

    The sha256 has 16 hex digits. It covers all labels, then all images, in the order train,
    validation, test, so that it does not depend on the size of the validation split.
    """
    return {
        "name": dataset.name,
        "version": dataset.version,
        "preprocess": preprocess,
        "splits": {split: len(examples.label) for split, examples in dataset.splits.items()},
        "sha256": dataset.sha256 or content_sha256(dataset.splits),
    }


def content_sha256(splits: Mapping[str, Examples]) -> str:
    """Return the first 16 hex digits of the SHA-256 of all labels, then all images."""
    digest = hashlib.sha256()
    for examples in splits.values():
        digest.update(np.ascontiguousarray(examples.label).data)
    for examples in splits.values():
        digest.update(np.ascontiguousarray(examples.x).data)
    return digest.hexdigest()[:16]


def relabelled(dataset: DataSet, names: Sequence[str]) -> DataSet:
    """Label examples by these factors: one class for each combination of their values.

    The label is the index of the combination in lexicographic order; () changes nothing.

    Raises:
        BadInput: the set has no factor of such a name.
    """
    if not names:
        return dataset
    if unknown := [name for name in names if name not in dataset.factors]:
        valid = ", ".join(dataset.factors) or f"(); {dataset.name} has no factors"
        raise BadInput(f"config.data.labels={tuple(names)!r}: {unknown[0]!r} must be in {valid}.")
    columns = [list(dataset.factors).index(name) for name in names]
    sizes = tuple(dataset.factors[name] for name in names)

    def relabel(examples: Examples) -> Examples:
        assert examples.factors is not None
        label = np.ravel_multi_index(tuple(examples.factors[:, columns].T), sizes)
        return examples._replace(label=label.astype(np.int32))

    classes = tuple(
        ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
        for values in np.ndindex(sizes)
    )
    splits = {split: relabel(examples) for split, examples in dataset.splits.items()}
    return dataset._replace(splits=splits, classes=classes, sha256=None)


def padded(dataset: DataSet, side: int) -> DataSet:
    """Pad images with black to `side` x `side` pixels; 0: do not pad.

    Raises:
        BadInput: there are no images, or they are larger.
    """
    if not side:
        return dataset
    h, w = dataset.shape[:2] if len(dataset.shape) == 3 else (0, 0)
    if not 0 < max(h, w) <= side:
        size = "x".join(map(str, dataset.shape))
        raise BadInput(
            f"config.data.pad_to={side} must be 0 or at least the side of an image; "
            f"{dataset.name} has examples of {size}."
        )
    padding = [(0, 0)] + [((side - s) // 2, (side - s + 1) // 2) for s in (h, w)] + [(0, 0)]

    def pad(examples: Examples) -> Examples:
        return examples._replace(x=np.pad(examples.x, padding))

    splits = {s: pad(e) for s, e in dataset.splits.items()}
    return dataset._replace(splits=splits, sha256=None)


def cut(examples: Examples, last: int, name: str) -> dict[str, Examples]:
    """Split off the last examples under this name; the others are 'train'."""
    at = len(examples.label) - last
    train, rest = part(examples, slice(at)), part(examples, slice(at, None))
    return {"train": train} | ({name: rest} if last else {})


def part(examples: Examples, rows: slice) -> Examples:
    """Return these rows of a split."""
    x, label, factors = examples
    return Examples(x[rows], label[rows], None if factors is None else factors[rows])


def hold_out(
    dataset: DataSet, validation: int | None, default: int | float | None = None
) -> DataSet:
    """Hold out 'validation' from the end of 'train', unless there is such a split.

    Equal images that are neighbours, as where they are sorted by content, stay in one split.

    Args:
        validation: number of examples; None: `default`; 0: no such split.
        default: number of examples, or a share of 'train' as a float; None: a tenth, at most
            `HELD_OUT`.

    Raises:
        BadInput: `validation` is not below the size of the training split, or the set has a
            validation split of another size.
    """
    splits, train = dataset.splits, dataset.splits["train"]
    if "validation" in splits:
        own = len(splits["validation"].label)
        if validation not in (None, 0, own):
            raise BadInput(
                f"config.data.validation={validation} must be None, 0 or {own}: the set has a "
                "validation split of its own."
            )
        if validation != 0:
            return dataset
        kept = {s: e for s, e in splits.items() if s != "validation"}
        return dataset._replace(splits=kept, sha256=None)
    n = len(train.label)
    if default is None:
        default = min(HELD_OUT, n // 10)
    elif isinstance(default, float):
        default = round(default * n)
    last = int(default) if validation is None else validation
    if not 0 <= last < n:
        raise BadInput(
            f"config.data.validation={last} must be at least 0 and below {n}, the "
            "size of the training split it is taken from."
        )
    if dataset.by_content and last:
        last = n - _first_equal(train.x, n - last)
    held_out = cut(train, last, "validation")
    return dataset._replace(splits=held_out | {s: e for s, e in splits.items() if s != "train"})


def _first_equal(x: np.ndarray, at: int) -> int:
    """Return the least index > 0 such that x[index - 1] differs and x[index:at + 1] are equal."""
    first = at
    while first > 1 and np.array_equal(x[first - 1], x[at]):
        first -= 1
    return first
