"""Set up all tests: JAX on the CPU, no implicit rank promotion, runtime shape checks."""

import ipaddress
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before jax is imported; an accelerator is tested by setting it from outside.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the time goes into compiling small programs. Commands are tested as users run them, with
# all optimizations (commands.py).
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# One store of compiled programs for all tests and the processes that they start, away from the
# user's. `make clean` deletes it; tests/system/test_compilation.py tests a cold start.
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).parents[1] / ".pytest_cache" / "programs")
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""

import jax
import jaxlib
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")

# Before latentgen is imported: check its annotations of types and array shapes at run time.
install_import_hook("latentgen", "checked.once")


CHEAP = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": "1"}
"""XLA's flags that halve compilation; one that this jaxlib does not know would abort it."""


def _compile_cheaply() -> None:
    """Start JAX under XLA's flags of CHEAP; commands do not inherit them."""
    if os.environ["JAX_PLATFORMS"] != "cpu" or "XLA_FLAGS" in os.environ:
        return
    known = ""
    for library in Path(jaxlib.__file__).parent.glob("libjax_common.*"):
        with (
            library.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as has,
        ):
            # A flag's name is a string of its own; a field of a message may still have it.
            names = {k: f"\0{k}\0".encode() for k in CHEAP}
            known = " ".join(f"--{k}={v}" for k, v in CHEAP.items() if has.find(names[k]) > 0)
    if known:
        os.environ["XLA_FLAGS"] = known
        jax.devices()
        del os.environ["XLA_FLAGS"]


_compile_cheaply()

pytest_plugins = ["progress"]

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
OPENCLIPART = Path("/usr/share/openclipart/png")
FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def pytest_configure() -> None:
    """Keep the programs that this process compiles; reuse those of earlier processes."""
    from latentgen.system.compilation import enable_compilation_cache

    enable_compilation_cache()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep in `make test` n evenly spread rows of a test marked `quick(n)`."""
    rows: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("quick") and not item.get_closest_marker("long"):
            rows.setdefault(item.nodeid.split("[")[0], []).append(item)
    for these in rows.values():
        mark = these[0].get_closest_marker("quick")
        assert mark is not None
        kept = {i * len(these) // mark.args[0] for i in range(mark.args[0])}
        for i, item in enumerate(these):
            if i not in kept:
                item.add_marker("long")


def _stays_here(event: str, given: tuple[Any, ...]) -> None:
    """No test asks a name server or another machine; CI closes them to child processes, too."""
    if event == "socket.getaddrinfo":
        host = given[0]
    elif event == "socket.connect" and isinstance(given[1], tuple):
        host = given[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    try:
        near = not host or ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = host in ("localhost", os.uname().nodename)
    if not near:
        raise OSError(f"tests may not use the network: {event} to {host}")


sys.addaudithook(_stays_here)


@pytest.fixture
def x64() -> Iterator[None]:
    """Enable double precision within one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of Debian's dataset-fashion-mnist; without it, a skip, or under CI a failure."""
    missing = [name for name in FILES if not (FASHION_MNIST / f"{name}-ubyte.gz").is_file()]
    if missing:
        complain = pytest.fail if os.environ.get("LATENTGEN_CI") else pytest.skip
        complain(f"needs Debian's dataset-fashion-mnist: {', '.join(missing)} missing")
    return FASHION_MNIST


@pytest.fixture(scope="session")
def openclipart() -> Path:
    """The folder of Debian's openclipart-png; without it, a skip, or under CI a failure."""
    if not OPENCLIPART.is_dir():
        complain = pytest.fail if os.environ.get("LATENTGEN_CI") else pytest.skip
        complain(f"needs Debian's openclipart-png: {OPENCLIPART} missing")
    return OPENCLIPART


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_file() -> Iterator[None]:
    """Clear a file's compiled programs after its tests: they take gigabytes."""
    yield
    jax.clear_caches()
