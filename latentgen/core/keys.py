"""Random keys: a run has one key, and all others are derived from it by name and step.

No key is stored: a checkpoint is (step, state).
"""

import zlib

import jax
from jaxtyping import Array, Integer, Key


def run_key(seed: int | Integer[Array, ""]) -> Key[Array, ""]:
    """Return the key of the run with this seed: fold_in(key(0), seed)."""
    return jax.random.fold_in(jax.random.key(0), seed)


def named_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """Derive an independent key for a named purpose: 'init', 'order', 'noise', 'samples', ..."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
