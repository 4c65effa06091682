"""Large data sets that are mapped into memory: seconds and memory to load, and images/s of batches.

    python -m experiments.benchmarks.mapped [--images 1000000] [--size 64] [--json FILE]

Arrays: an .npy file of made images, 12 GB by default, is loaded as arrays:FILE, and read in batches
of 64 and of 256 as in training, an epoch in random order each, in chunks of 6,400 images. The first
bytes of every example and all bytes of three chunks are checked. Identity is the SHA-256 of all.

Pictures: a hundredth as many made PNG files of 192 x 160 pixels are prepared, beside a plain Pillow
loop in as many processes, whose start is not counted. Both have to find the same pixels. Figures
are medians of three rounds.

Memory is anonymous memory, which does not hold the pages of mapped files. Files lie in a temporary
folder of --folder and are deleted at the end. Linux only. Takes some minutes.
"""

import contextlib
import gc
import hashlib
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from experiments.benchmarks import side_by_side
from latentgen.core.errors import BadInput
from latentgen.core.keys import run_key
from latentgen.data import pipeline, sources
from latentgen.data.dataset import Examples
from latentgen.data.pictures.prepare import Options, prepare
from latentgen.data.preprocess import PREPROCESS
from latentgen.data.sources.base import SETS

BATCHES, CHUNK = (64, 256), 6_400
ROUNDS = 3  # of preparing and the plain loop
BLOCK = 4_096  # images that are made at a time
FEWEST = 512  # images of a set, so that there are two batches
WIDTH, HEIGHT = 192, 160  # of a picture's file
MIB = 2**20


class Memory:
    """Largest anonymous memory so far in MiB: of this process, and of its largest child."""

    def __init__(self) -> None:
        self.own, self.child = 0.0, 0.0

    def look(self) -> None:
        """Read the present values."""
        self.own = max(self.own, anonymous("self"))
        for path in Path("/proc/self/task").glob("*/children"):
            with contextlib.suppress(OSError):  # a process that ends meanwhile
                self.child = max(self.child, *map(anonymous, path.read_text().split()), 0.0)


def anonymous(process: str) -> float:
    """Return the anonymous memory of a process in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


@contextlib.contextmanager
def watched() -> Iterator[Memory]:
    """Look at memory every 20 ms."""
    memory, done = Memory(), threading.Event()

    def look() -> None:
        memory.look()
        while not done.wait(0.02):
            memory.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()
        memory.look()


def timed(call: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Call; return its seconds and peak memory, and its result."""
    gc.collect()  # what was measured before holds batches that were read ahead
    with watched() as memory:
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "MiB": memory.own}, result


def made(i: Int[np.ndarray, " n"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """Make images whose first four bytes are their index, and whose others follow from it."""
    words = np.arange(size * size * 3 // 4, dtype=np.uint32) * np.uint32(0x9E3779B1)
    return (i.astype(np.uint32)[:, None] + words).view(np.uint8).reshape(-1, size, size, 3)


def write_arrays(file: Path, n: int, size: int) -> None:
    """Write n made images, in blocks."""
    with open(file, "wb") as opened:
        header = {"descr": "|u1", "fortran_order": False, "shape": (n, size, size, 3)}
        np.lib.format.write_array_header_1_0(opened, header)
        for start in range(0, n, BLOCK):
            opened.write(made(np.arange(start, min(n, start + BLOCK)), size).data)


def batches(examples: Examples, batch: int) -> dict[str, float]:
    """Read an epoch, or 20 chunks of a small set; return images/s and peak memory.

    Raises:
        AssertionError: an example is not the one of its index.
    """
    key, n, steps = run_key(0), len(examples.label), CHUNK // batch
    chunks = max(20, n // CHUNK)
    i = pipeline.indices(key, n, batch, 1)(0, chunks * steps).reshape(chunks, CHUNK)
    feed = pipeline.feed(examples, PREPROCESS["unit"], batch, 1, key, stream_above=0)

    def first_bytes(chunk: int) -> np.ndarray:
        return feed.rows(chunk * steps, steps).x.reshape(CHUNK, -1)[:, :4].copy()

    figures, heads = timed(lambda: [first_bytes(chunk) for chunk in range(chunks)])
    flat = examples.x.reshape(n, -1)
    assert all((head == flat[at, :4]).all() for head, at in zip(heads, i, strict=True))
    for chunk in range(3):
        x = feed.rows(chunk * steps, steps).x
        np.testing.assert_array_equal(x.reshape(CHUNK, *x.shape[3:]), examples.x[i[chunk]])
    return figures | {"images/s": chunks * CHUNK / figures["seconds"]}


def of_arrays(folder: Path, n: int, size: int) -> dict[str, dict[str, float]]:
    """Measure an array file.

    Raises:
        AssertionError: an example is not what was written.
    """
    file = folder / "made.npy"
    found = {}
    found["write"], _ = timed(lambda: write_arrays(file, n, size))
    found["load"], dataset = timed(
        lambda: sources.load(f"arrays:{file}", validation=0, data_dir=folder)
    )
    train = dataset.splits["train"]
    for at in np.array_split(np.linspace(0, n - 1, BLOCK).astype(int), 8):
        np.testing.assert_array_equal(train.x[at], made(at, size))
    found["identity"], _ = timed(lambda: sources.identity(dataset, "unit"))
    for batch in BATCHES:
        found[f"batches of {batch}"] = batches(train, batch)
    file.unlink()
    return found


def write_picture(job: tuple[Path, int]) -> None:
    """Write a smooth picture of its own."""
    file, number = job
    x = np.random.default_rng(number).integers(0, 256, (10, 12, 3), np.uint8)
    image = Image.fromarray(x).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    image.save(file, compress_level=1)


def plain(job: tuple[Path, int]) -> UInt8[np.ndarray, "size size 3"]:
    """Read a picture by Pillow: its centre square, resized."""
    file, size = job
    with Image.open(file) as image:
        rgb = image.convert("RGB")
        side = min(rgb.size)
        left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
        square = rgb.crop((left, top, left + side, top + side))
        return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def in_processes(call: Callable[[Any], Any], jobs: list[Any]) -> tuple[float, list[Any]]:
    """Map in a process per core; return seconds without their start, and results."""
    cores = side_by_side.cores()
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(time.sleep, [0.5] * cores, chunksize=1)  # every process has started
        start = time.perf_counter()
        results = list(pool.imap(call, jobs, chunksize=64))
        return time.perf_counter() - start, results


def digests(x: Any) -> list[bytes]:
    """Return the SHA-256 of each image, sorted."""
    return sorted(hashlib.sha256(np.ascontiguousarray(row).data).digest() for row in x)


def one_round(
    files: list[Path], size: int, sets: Path
) -> tuple[dict[str, dict[str, float]], list[bytes]]:
    """Prepare a folder's pictures, then read them by the plain loop; return digests of those."""
    with watched() as memory:
        prepared, _ = timed(lambda: prepare(files[0].parent, Options(size), sets / SETS))
    prepared["MiB_of_a_process"] = memory.child
    seconds, images = in_processes(plain, [(file, size) for file in files])
    prepared["times_the_plain_loop"] = prepared["seconds"] / seconds
    return {"prepare": prepared, "plain Pillow loop": {"seconds": seconds}}, digests(images)


def medians(rounds: list[dict[str, dict[str, float]]], n: int) -> dict[str, dict[str, float]]:
    """Return the median of each figure over rounds, and the seconds of 1,000 pictures."""
    found = {
        way: {key: float(np.median([each[way][key] for each in rounds])) for key in figures}
        for way, figures in rounds[0].items()
    }
    for figures in found.values():
        figures["seconds_a_1000"] = figures["seconds"] / n * 1000
    return found


def of_pictures(folder: Path, n: int, size: int) -> dict[str, dict[str, float]]:
    """Measure a folder of pictures.

    Raises:
        AssertionError: the plain loop has found other pixels.
    """
    where = folder / "pictures"
    where.mkdir()
    files = [where / f"{i:07}.png" for i in range(n)]
    seconds, _ = in_processes(write_picture, list(zip(files, range(n), strict=True)))
    found: dict[str, dict[str, float]] = {"write pictures": {"seconds": seconds}}
    rounds = [one_round(files, size, folder / f"sets_{number}") for number in range(ROUNDS)]
    found |= medians([figures for figures, _ in rounds], n)
    found["load prepared"], dataset = timed(
        lambda: sources.load(f"folder:{where}", validation=0, data_dir=folder / "sets_0", size=size)
    )
    train = dataset.splits["train"]
    assert all(digests(train.x) == plainly for _, plainly in rounds)
    for batch in BATCHES:
        found[f"prepared, batches of {batch}"] = batches(train, batch)
    return found


def check(images: int, size: int) -> None:
    """Check the options.

    Raises:
        BadInput: a value is not valid.
    """
    if images < FEWEST:
        raise BadInput(f"--images={images} must be at least {FEWEST}.")
    if size % 2 or not 2 <= size <= min(WIDTH, HEIGHT):
        raise BadInput(f"--size={size} must be even, in 2 .. {min(WIDTH, HEIGHT)}.")


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.add_argument("--images", type=int, default=1_000_000, help="of the array file")
    flags.add_argument("--size", type=int, default=64, help="side of an image in pixels")
    flags.add_argument("--folder", type=Path, help="where the temporary folder is made")
    options = flags.parse_args()
    try:
        check(options.images, options.size)
    except BadInput as error:
        sys.exit(str(error))
    figures: dict[str, dict[str, float]] = {"start": {"MiB": anonymous("self")}}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for measure, n in (
            (of_pictures, max(FEWEST, options.images // 100)),
            (of_arrays, options.images),
        ):
            figures |= measure(Path(folder), n, options.size)
    for name, values in figures.items():
        told = ", ".join(f"{key} {value:,.4g}" for key, value in values.items())
        print(f"{name:28} {told}")
    told = {"images": options.images, "size": options.size, "figures": figures}
    side_by_side.write(options.json, [], **told)


if __name__ == "__main__":
    main()
