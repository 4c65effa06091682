"""Random keys: a run has one, and everything random in it is derived from that by name and step.

No key is ever stored: a checkpoint is (step, state) and nothing else.
"""

import zlib

import jax
from jaxtyping import Array, Integer, Key


def run_key(seed: int | Integer[Array, ""]) -> Key[Array, ""]:
    """The key of the run with this seed: fold_in(key(0), seed)."""
    return jax.random.fold_in(jax.random.key(0), seed)


def named_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """An independent key for a named purpose: 'init', 'order', 'noise', 'samples', ..."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
