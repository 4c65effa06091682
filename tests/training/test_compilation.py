"""Compiled programs on disk: found again, never where the user wants none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latentgen.training import compilation

PROGRAM = """
import jax
from latentgen.training.compilation import keep_programs
keep_programs()
jax.block_until_ready(jax.jit(lambda x: x * 2 + 1)(3.0))
print(jax.config.jax_compilation_cache_dir)
"""


def where(*options: str, **env: str) -> str:
    """What a process of this environment says of where it keeps programs."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, *(options or ("-W", "error")), "-c", PROGRAM],
        env=kept | {"JAX_PLATFORMS": "cpu"} | env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert options or done.stderr == ""
    return done.stdout.strip()


def programs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*-cache"))


def test_a_second_process_finds_what_the_first_compiled(tmp_path: Path) -> None:
    place = Path(where(XDG_CACHE_HOME=str(tmp_path)))
    assert place.parent == tmp_path / "latentgen"
    first = programs(place)
    assert any(name.startswith("jit__lambda") for name in first)
    written = {name: (place / name).stat().st_mtime_ns for name in first}
    assert where(XDG_CACHE_HOME=str(tmp_path)) == str(place)
    assert programs(place) == first
    assert {name: (place / name).stat().st_mtime_ns for name in first} == written


def test_what_the_user_says_holds(tmp_path: Path) -> None:
    mine = str(tmp_path / "mine")
    assert where(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=mine) == mine
    assert where(XDG_CACHE_HOME=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="false") == "None"
    assert not (tmp_path / "latentgen").exists()


def test_a_damaged_program_is_compiled_again(tmp_path: Path) -> None:
    place = Path(where(XDG_CACHE_HOME=str(tmp_path)))
    for name in programs(place):
        (place / name).write_bytes(b"damaged")
    # JAX says so, and compiles.
    assert where("-W", "default", XDG_CACHE_HOME=str(tmp_path)) == str(place)


def test_what_a_killed_process_left_is_written_again(tmp_path: Path) -> None:
    """Without a time of use beside it, one torn program would keep JAX from writing any other."""
    place = Path(where(XDG_CACHE_HOME=str(tmp_path)))
    first = programs(place)
    torn = place / next(name for name in first if name.startswith("jit__lambda"))
    whole = torn.read_bytes()
    torn.write_bytes(whole[:100])
    os.utime(torn, (0, 0))  # long ago
    torn.with_name(f"{torn.name.removesuffix('-cache')}-atime").unlink()
    assert where(XDG_CACHE_HOME=str(tmp_path)) == str(place)
    assert programs(place) == first
    assert len(torn.read_bytes()) > 100


def test_a_folder_that_cannot_be_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "latentgen").write_text("a file")
    assert where(XDG_CACHE_HOME=str(tmp_path)) == "None"


def test_other_flags_and_processors_have_other_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    here = compilation.folder()
    assert compilation.folder() == here
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    flagged = compilation.folder()
    monkeypatch.setattr(compilation, "processor", lambda: "another")
    assert len({here, flagged, compilation.folder()}) == 3
