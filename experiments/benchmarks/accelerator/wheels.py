"""Packages from a folder of wheels, for machines with JAX and no package registry."""

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from latentgen.core.errors import BadInput

NEEDED = (
    *("absl-py", "filelock", "importlib_resources", "jaxtyping", "wadler-lindig", "jinja2"),
    *("markupsafe", "ml_collections", "pyyaml", "tensorboardX", "protobuf", "packaging", "tqdm"),
    *("pillow", "scikit-learn", "joblib", "threadpoolctl", "narwhals"),
)
"""All that a run asks for besides jax, flax, optax and orbax with what these require.

TensorFlow Datasets, Grain and array_record are not among them: only large data sets need them.
"""

PYTHON = "3.12"
PLATFORMS = (
    *(f"manylinux_2_{n}_x86_64" for n in (28, 27, 26, 24, 17)),
    *("manylinux2014_x86_64", "manylinux1_x86_64"),
)
LIMIT = 60 * 2**20
"""Bytes of all wheels."""


def download(folder: Path) -> int:
    """Fill the folder with wheels for Python 3.12 on x86-64 Linux; returns their bytes.

    Raises:
        BadInput: pip did not find them, or they are larger than `LIMIT`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    if subprocess.run([*command, *NEEDED]).returncode:
        raise BadInput(f"--fill-wheels={folder}: pip could not download the wheels.")
    size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    if size > LIMIT:
        raise BadInput(f"--fill-wheels={folder}: {size / 2**20:.0f} MiB are more than 60.")
    return size


def unpack(folder: Path, into: Path) -> list[str]:
    """Unpack what is not installed and fits this Python; returns the names.

    Raises:
        BadInput: the folder holds no wheels, or one that is damaged.
    """
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise BadInput(f"--wheels={folder} holds no wheels; `make wheels` fills a folder.")
    names = []
    for wheel in wheels:
        name = wheel.name.split("-")[0]
        if _installed(name) or not fits(wheel.name):
            continue
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(into)
        except (OSError, zipfile.BadZipFile) as error:
            raise BadInput(f"--wheels={folder}: {wheel.name} is damaged: {error}") from error
        names.append(name)
    return names


def fits(name: str) -> bool:
    """True if the wheel of this file name is for this Python and platform."""
    python, abi, platform = name.removesuffix(".whl").split("-")[-3:]
    if platform != "any" and not (
        "linux" in platform
        and sys.platform == "linux"
        and platform.endswith(sysconfig.get_platform().split("-")[-1])
    ):
        return False
    mine = f"cp{sys.version_info.major}{sys.version_info.minor}"
    if abi == "abi3":
        oldest = re.fullmatch(r"cp3(\d+)", python.split(".")[0])
        return oldest is not None and int(oldest[1]) <= sys.version_info.minor
    return mine in python.split(".") or "py3" in python.split(".")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
