"""A network's parameters as a file that its SHA-256 identifies: the same arrays, the same bytes."""

import errno
import hashlib
import io
import os
import stat
import zipfile

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from latentgen.core.errors import BadInput
from latentgen.core.types import PyTree

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can name


LARGEST = 2**31
"""Bytes of a file of weights."""


def packed(params: PyTree, dtype: DTypeLike = np.float32) -> bytes:
    """The content of an .npz file with one array for each key path.

    Args:
        params: nested dicts of float arrays, whose keys hold no slash.
        dtype: of the numbers in the file; np.float16 halves it and keeps three digits.

    Raises:
        BadInput: a number is too large for `dtype`.
    """
    memory = io.BytesIO()
    # Neither np.savez nor the order of a dict promises the same bytes for the same arrays.
    with zipfile.ZipFile(memory, "w") as archive:
        for name, value in sorted(flatten_dict(params, sep="/").items()):
            entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            entry.create_system = 3  # "Unix", on any system
            archive.writestr(entry, _npy(name, np.asarray(value), dtype))
    return memory.getvalue()


def load(path: str | os.PathLike[str]) -> tuple[PyTree, str]:
    """The parameters that `packed` made, as float32, and the SHA-256 of the file.

    `packed` compresses nothing, so that a file holds no more than its size says.

    Raises:
        BadInput: there is no such file, or it is not a whole .npz file of floats, or too large.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise BadInput(f"weights={str(path)!r} cannot be read: {error.strerror}.") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:  # checksums find a flipped bit
            if sum(entry.file_size for entry in archive.infolist()) > len(content):
                raise ValueError("it is compressed")
            flat = {name: _floats(archive.read(name)) for name in archive.namelist()}
        params = unflatten_dict({name.removesuffix(".npy"): x for name, x in flat.items()}, sep="/")
    except Exception as error:  # of many types, what with headers that may say anything
        raise BadInput(f"weights={str(path)!r} is not a whole .npz file of floats.") from error
    return params, hashlib.sha256(content).hexdigest()


def _content(path: str | os.PathLike[str]) -> bytes:
    """A file's content, which may be anybody's: a pipe is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if stat.S_ISDIR(found.st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if found.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes; at most {LARGEST:,}")
        return file.read()


def _npy(name: str, value: np.ndarray, dtype: DTypeLike) -> bytes:
    """The array in NumPy's format, always row after row."""
    with np.errstate(over="ignore"):
        stored = np.array(value, dtype, order="C")
    if np.isinf(stored).sum() > np.isinf(value).sum():
        raise BadInput(f"dtype={np.dtype(dtype).name} is too narrow for the numbers in {name!r}.")
    file = io.BytesIO()
    np.lib.format.write_array(file, stored, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _floats(content: bytes) -> Float[Array, "*shape"]:
    value = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    if value.dtype.kind != "f":
        raise ValueError(f"numbers of type {value.dtype}")
    return jnp.asarray(value, jnp.float32)
