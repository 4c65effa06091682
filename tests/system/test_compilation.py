"""Compiled programs on disk: found again, never where the user wants none."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from latentgen.system import compilation

PROGRAM = """
import jax
from latentgen.system.compilation import enable_compilation_cache
enable_compilation_cache()
jax.block_until_ready(jax.jit(lambda x: x * 2 + 1)(3.0))
print(jax.config.jax_compilation_cache_dir)
"""


def where(*options: str, **env: str) -> str:
    """Start a process in this environment; return the folder of its compiled programs."""
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
    return sorted(path.name for path in folder.rglob("jit_*"))


def test_a_second_process_finds_what_the_first_compiled_and_mends_what_is_damaged(
    tmp_path: Path,
) -> None:
    place = Path(where(XDG_CACHE_HOME=str(tmp_path)))
    assert place.parent == tmp_path / "latentgen"
    first = programs(place)
    assert any(name.startswith("jit__lambda") for name in first)
    damaged, *others = first
    whole = (place / damaged).read_bytes()
    (place / damaged).write_bytes(whole[:-100])
    written = {name: (place / name).stat().st_ctime_ns for name in others}
    inodes = {name: (place / name).stat().st_ino for name in others}
    assert where(XDG_CACHE_HOME=str(tmp_path)) == str(place)
    assert programs(place) == first
    assert compilation.ProgramCache(place).get(damaged)
    assert {name: (place / name).stat().st_ino for name in others} == inodes  # none written anew
    assert all((place / name).stat().st_ctime_ns > written[name] for name in others)  # but used


def test_what_the_user_says_holds(tmp_path: Path) -> None:
    mine = str(tmp_path / "mine")
    assert where(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=mine) == mine
    assert where(XDG_CACHE_HOME=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="false") == "None"
    assert not (tmp_path / "latentgen").exists()


def test_only_an_entry_of_its_own_key_is_used(tmp_path: Path) -> None:
    """Swapped in place, one learning rate's program would run as another's."""
    kept = compilation.ProgramCache(tmp_path)
    kept.put("a", b"program a")
    kept.put("b", b"program b")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (b"program a", b"program b", None)
    a, b = (tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()
    (tmp_path / "a").write_bytes(b)
    (tmp_path / "b").write_bytes(b[:-1] + b"!")
    assert kept.get("a") is kept.get("b") is None
    assert list(tmp_path.iterdir()) == []  # so that they are compiled and written again
    kept.put("a", b"program a")
    assert (tmp_path / "a").read_bytes() == a


def test_a_program_that_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    kept = compilation.ProgramCache(tmp_path / "nowhere")
    kept.put("a", b"program")
    assert kept.get("a") is None


def test_the_longest_unused_go_and_what_a_killed_process_left(tmp_path: Path) -> None:
    kept = compilation.ProgramCache(tmp_path)
    for age, name in enumerate(("new", "older", "oldest")):
        kept.put(name, bytes(1000))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    (tmp_path / ".torn").write_bytes(b"half")
    os.utime(tmp_path / ".torn", (0, 0))
    (tmp_path / ".being-written").write_bytes(b"half")
    assert kept.get("oldest") == bytes(1000)  # which is a use
    kept.prune(max_bytes=2100)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".being-written", "new", "oldest"]


def test_a_folder_that_others_can_write_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = compilation.folder()
    place.mkdir(parents=True)
    place.chmod(0o777)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        compilation.enable_compilation_cache()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert f"others can write {place}" in capsys.readouterr().err


def test_the_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        assert compilation._make_private(tmp_path / "programs")
    finally:
        os.umask(umask)
    assert (tmp_path / "programs").stat().st_mode & 0o777 == 0o700


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
