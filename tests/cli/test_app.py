"""Mistakes that every command refuses in one line before it does anything."""

import io
from pathlib import Path

import jax
import pytest
from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput, printable
from latentgen.sweeps.engines import inline
from latentgen.system import streams
from latentgen.system.compilation import PINNED, pin_settings


def values() -> flags.FlagValues:
    found = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "", flag_values=found)
    flags.DEFINE_float("stuck", 300.0, "", lower_bound=0.1, flag_values=found)
    return found


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--stuck=nan", "--stuck=nan must be a number"),
        ("--workdir=", "--workdir is empty"),
        ("--workdir=z\udcff", "is not text in this locale's encoding"),
        ("--stuck=much", "stuck"),
    ],
)
def test_flags_that_say_nothing_are_refused(word: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        app.parsed(["run", word], None, values())


def test_a_current_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(BadInput, match="the current folder has been removed; change to another"):
        app.parsed(["run"], None, values())


def test_letters_that_an_encoding_lacks_are_written_as_escapes() -> None:
    raw = io.BytesIO()
    stream = streams.FaultTolerantStream(io.TextIOWrapper(raw, encoding="ascii"))
    assert stream.write("\u00fc") == 1
    stream.flush()
    assert (raw.getvalue(), stream.error) == (rb"\xfc", None)


@pytest.mark.parametrize("code", ["0", "1", "'bye'"])
def test_a_file_that_exits_is_no_success(tmp_path: Path, code: str) -> None:
    file = tmp_path / "exits.py"
    file.write_text(f"import sys\nsys.exit({code})\n")
    with pytest.raises(BadInput, match="fails with SystemExit"):
        app.check_config(["run", f"--config={file}"])
    with pytest.raises(BadInput, match="fails with SystemExit"):
        inline.described(str(file))


@pytest.mark.parametrize("text", ["1.5,2.9", "True", "-1:3", "3:3", "0:1000000000000", "1,-2", "x"])
def test_seeds_are_whole_numbers(text: str) -> None:
    with pytest.raises(BadInput, match=f"--seeds='{text}'"):
        inline.seeds(text)
    assert inline.seeds("3,5").length == 2


def test_nothing_is_drawn_from_nothing() -> None:
    with pytest.raises(BadInput, match="drawn from no value"):
        inline.drawn("config.seed=discrete()")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("Unable to initialize backend 'x': why\nmore"),
            "JAX_PLATFORMS='cpu': Unable",
        ),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "memory is too small"),
        (MemoryError(), "memory is too small"),
        (RuntimeError("shapes differ"), None),
    ],
)
def test_a_machine_that_lacks_something_is_told_from_a_mistake(
    error: RuntimeError | MemoryError, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = app._explain_backend_or_memory(error)
    assert found is None if said is None else said in str(found)


def test_jax_has_by_itself_what_is_pinned_and_else_is_told_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pin_settings()
    assert capsys.readouterr().err == ""
    with jax.enable_x64(True):
        assert jax.config.jax_enable_x64
        pin_settings()
        assert "JAX_ENABLE_X64=True is ignored" in capsys.readouterr().err
    assert all(getattr(jax.config, name) == value for name, value in PINNED.items())


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert printable("a\nb\x1b[2J\u00fc") == r"a b\x1b[2J" + "\u00fc"
