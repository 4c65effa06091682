"""Samples as PNG files, in a folder or a zip, of which sample i is a function of (seed, i).

A command that was stopped continues: files that are complete stay as they are.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key, run_key
from latentgen.core.types import PyTree
from latentgen.evaluation import styles, views
from latentgen.evaluation.measures.subject import with_progress
from latentgen.storage import workdir
from latentgen.storage.checkpoint import describe
from latentgen.training.pictures import png, to_bytes
from latentgen.training.setup import Run

IDENTITY, LABELS = "samples.json", "dataset.json"
MOST = 1_000_000  # samples whose names have six digits
VALUES_AT_ONCE = 2**22  # of a block of images, to bound memory
LARGEST_JSON = 2**20  # bytes of an IDENTITY
NAME = re.compile(r"(\d{6})\.png")
END = bytes.fromhex("0000000049454e44ae426082")  # last chunk of a PNG, ISO/IEC 15948, 11.2.5


class Source(NamedTuple):
    """Samples by their index.

    identity: the values that determine all samples, as JSON data
    classes: sample i is of class classes[i % len(classes)]; () for an unconditional method
    size: number of images in a block
    block: index of a block -> its images
    """

    identity: Mapping[str, Any]
    classes: Sequence[int]
    size: int
    block: Callable[[int], UInt8[np.ndarray, "size h w c"]]


def from_prior(
    run: Run,
    step: int,
    state: PyTree,
    seed: int,
    classes: Sequence[int],
    truncation: float | None = None,
) -> Source:
    """Make the source of samples G(z_i), z_i ~ p(z).

    All blocks have one size, which depends on the images' shape only: the sums in a network may
    depend on the size in their last bits.

    Args:
        step: updates done.
        classes: see `Source`.
        truncation: see `styles.truncated`; None: none.

    Raises:
        BadInput: the data are not images, the method has no codes, or none to be truncated.
    """
    if len(run.dataset.shape) != 3:
        raise BadInput("a folder or a .zip is for images only; points go into an --out of .npz.")
    if truncation is not None:
        run = run._replace(method=styles.truncated(run.method, state, truncation))
    size = max(1, min(views.AT_ONCE, VALUES_AT_ONCE // math.prod(run.dataset.shape)))
    decode, key = _decoder(run, classes), named_key(run_key(seed), "samples by index")

    def block(number: int) -> UInt8[np.ndarray, "size h w c"]:
        pixels, finite = decode(state, key, jnp.arange(number * size, (number + 1) * size))
        if not finite:
            raise BadInput("the samples are not finite: the run has diverged.")
        return to_bytes(np.asarray(pixels))

    weights = hashlib.sha256(json.dumps(describe(state), sort_keys=True).encode()).hexdigest()
    identity = {"step": step, "seed": seed, "mode": "prior", "classes": [*classes]}
    if truncation is not None:  # absent without, as in folders of earlier releases
        identity["truncation"] = truncation
    return Source(identity | {"weights_sha256": weights}, classes, size, block)


def _decoder(
    run: Run, classes: Sequence[int]
) -> Callable[..., tuple[Float[Array, "n h w c"], Bool[Array, ""]]]:
    """Return the jitted function (state, key, indices) -> pixels, and whether x is finite."""
    decode, to_pixels = views.probe(run.method, "decode"), run.experiment.data.preprocess.pixels

    @jax.jit
    def pixels(
        state: PyTree, key: Array, indices: Int[Array, " n"]
    ) -> tuple[Float[Array, "n h w c"], Bool[Array, ""]]:
        z = views.prior_by_index(run.method, state, key, indices)
        label = (jnp.asarray(classes)[indices % len(classes)],) if classes else ()
        x = decode(state, z, *label)
        return to_pixels(x), jnp.isfinite(x).all()

    return pixels


def name(index: int) -> str:
    """Return the file's name of sample `index`: 000000.png, 000001.png, ..."""
    return f"{index:06d}.png"


def write_folder(folder: Path, source: Source, num: int) -> int:
    """Write samples 0 .. num - 1 into a folder, except those that it has.

    A conditional method's labels are in `dataset.json`: {"labels": [["000000.png", 3], ...]}.

    Returns:
        Number of samples written.

    Raises:
        BadInput: the folder has other files, other samples or more of them.
    """
    _claim(folder, source.identity, num)
    missing = [i for i in range(num) if not _is_complete(folder / name(i))]
    wanted = set(missing)
    for number in with_progress("samples", sorted({i // source.size for i in missing})):
        for i, image in enumerate(source.block(number), number * source.size):
            if i in wanted:  # not flushed one by one, which would be slow; see `_is_complete`
                workdir.write_bytes(folder / name(i), png(image), sync=False)
    if source.classes:
        labels = [[name(i), source.classes[i % len(source.classes)]] for i in range(num)]
        workdir.write_bytes(folder / LABELS, json.dumps({"labels": labels}).encode())
    return len(missing)


def write_zip(out: Path, source: Source, num: int) -> int:
    """Write samples 0 .. num - 1 into a zip, whose files are those of `write_folder`.

    Samples are kept in a hidden folder beside it until all are there.

    Returns:
        Number of samples written.

    Raises:
        BadInput: the zip exists and holds something else, or the hidden folder has other samples.
    """
    folder = out.with_name(f".{out.name}.parts")
    written = 0
    if os.path.lexists(out):
        _check_zip(out, source.identity, num)
    else:
        written = write_folder(folder, source, num)
        labels = [LABELS] if source.classes else []
        _pack(out, folder, [IDENTITY, *labels, *map(name, range(num))])
    shutil.rmtree(folder, ignore_errors=True)
    return written


def _pack(out: Path, folder: Path, names: Sequence[str]) -> None:
    """Write files of a folder into a zip, atomically; equal files give equal bytes."""
    with workdir.replacing(out) as file, zipfile.ZipFile(file, "w") as packed:
        for each in with_progress("zip", names):
            entry = zipfile.ZipInfo(each)  # of a fixed date; PNGs cannot be compressed further
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, workdir.read_bytes(folder / each))


def _claim(folder: Path, identity: Mapping[str, Any], num: int) -> None:
    """Write the identity into a new folder, or check that of an old one."""
    workdir.prepare(folder, "--out")
    where, names = f"--out={str(folder)!r}", _names(folder)
    if not names:
        workdir.write_json(folder / IDENTITY, identity)
        return
    found: Any = None
    with contextlib.suppress(ValueError, OSError):
        found = workdir.parsed(workdir.read_text(folder / IDENTITY, largest=LARGEST_JSON))
    _check_same(where, found, identity)
    if (last := max(map(_index, names))) >= num:
        raise BadInput(
            f"{where} holds {name(last)}, which is beyond --num={num}; name another --out."
        )


def _names(folder: Path) -> list[str]:
    """Return the names of a folder's files, except what a killed `workdir.write_bytes` leaves."""
    names = os.listdir(folder)
    return [each for each in names if not (each.startswith(".") and each.endswith(".tmp"))]


def _index(file: str) -> int:
    """Return the index of a sample's file; -1 for other files."""
    found = NAME.fullmatch(file)
    return int(found[1]) if found else -1


def _check_zip(out: Path, identity: Mapping[str, Any], num: int) -> None:
    """Raise BadInput if a file is not a zip of these samples."""
    where, found, number = f"--out={str(out)!r}", None, 0
    with contextlib.suppress(ValueError, KeyError, zipfile.BadZipFile, IsADirectoryError):
        with workdir.opened(out, "rb") as file, zipfile.ZipFile(file) as packed:
            number = sum(1 for each in packed.namelist() if _index(each) >= 0)
            if packed.getinfo(IDENTITY).file_size <= LARGEST_JSON:
                found = workdir.parsed(packed.read(IDENTITY).decode())
    _check_same(where, found, identity)
    if number != num:
        raise BadInput(f"{where} holds {number} samples, not --num={num}; name another --out.")


def _check_same(where: str, found: Any, identity: Mapping[str, Any]) -> None:
    if not isinstance(found, dict):
        raise BadInput(f"{where} holds other files than samples; name another --out.")
    if changed := workdir.changes(found, identity):
        lines = ", ".join(f"{key} {old} there, {new} now" for key, (old, new) in changed.items())
        raise BadInput(f"{where} holds other samples ({lines}); name another --out.")


def _is_complete(file: Path) -> bool:
    """Return whether a PNG is there to its end, which it may not be after a power failure."""
    try:
        with workdir.opened(file, "rb") as content:
            content.seek(-len(END), os.SEEK_END)
            return content.read() == END
    except OSError:  # it is missing, or shorter than the last chunk
        return False
