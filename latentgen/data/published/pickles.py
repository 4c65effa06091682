"""Reader of the pickles of CIFAR, which executes nothing.

The files hold dicts of lists, strings, integers and one uint8 array. A pickle of an array names
numpy's functions; here they are replaced by two plain classes, and any other name is refused.
Both classes have a __setstate__, so that a pickle can only set the state of their instances.
"""

import pickle
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from latentgen.data.published.files import damaged


class _DType:
    """Stand-in for numpy.dtype, of bytes alone."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"it has an array of {code!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        """Ignore the byte order."""


class _Array:
    """Stand-in for numpy's arrays and for the function that begins them."""

    def __init__(self, *_: Any) -> None:
        self.x: UInt8[np.ndarray, "..."] = np.zeros(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        """Read (version, shape, dtype, whether in Fortran's order, bytes)."""
        _, shape, dtype, in_columns, raw = state
        if type(dtype) is not _DType or type(raw) is not bytes:
            raise pickle.UnpicklingError("it has an array that is not of bytes")
        flat = np.frombuffer(raw, np.uint8)
        self.x = flat.reshape(shape, order="F") if in_columns else flat.reshape(shape)


STAND_INS: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that finds the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> type:
        """Return the stand-in of this name."""
        if (module, name) in STAND_INS:
            return STAND_INS[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no original does")


def load(path: Path, stream: BufferedIOBase) -> dict[str, Any]:
    """Load a pickled dict.

    Args:
        path: the file that the stream is from, for messages.
        stream: the pickle.

    Returns:
        Its items, keys as text and arrays as uint8.

    Raises:
        BadInput: it is damaged, or holds something else than the originals do.
    """
    try:
        content = _Unpickler(stream, encoding="bytes").load()
        return {_text(k): v.x if isinstance(v, _Array) else v for k, v in content.items()}
    except Exception as error:  # damaged pickles raise any error
        raise damaged(path, error) from None


def _text(key: str | bytes) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else key
