"""JAX's settings change numbers: pinned, or kept with a run and told when they change."""

import json
from pathlib import Path

import jax
import pytest

from latentgen.storage import provenance
from latentgen.system import compilation
from latentgen.training.run_writer import _settings


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from outside."""
    for name in (*compilation.ENVIRONMENT, *(name.upper() for name in jax.config.values)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compilation, "_AT_IMPORT", dict(jax.config.values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("jax_random_seed_offset", 7), ("jax_numpy_dtype_promotion", "strict")],
        *[("jax_transfer_guard", "disallow"), ("jax_debug_key_reuse", True)],
        *[("jax_no_tracing", True), ("jax_error_checking_behavior_nan", "raise")],
    ],
)
def test_what_changes_every_number_or_ends_every_run_is_pinned(
    name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        jax.config.update(name, value)
        compilation.pin_settings()
        assert f"{name.upper()}={value} is ignored" in capsys.readouterr().err
        assert jax.config.values[name] == compilation.PINNED[name]
    finally:
        jax.config.update(name, compilation.PINNED[name])


def test_whatever_else_is_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compilation.settings() == {}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    monkeypatch.setenv("JAX_LOG_COMPILES", "0")  # changes no number
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    with jax.default_matmul_precision("bfloat16"):
        before = jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", "bfloat16")  # as a config's file might
    try:
        found = compilation.settings()
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    assert found == {
        "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
        "jax_default_matmul_precision": "bfloat16",
        "jax_disable_most_optimizations": jax.config.values["jax_disable_most_optimizations"],
    }
    assert json.loads(json.dumps(found)) == found
    assert provenance.device()["settings"] == compilation.settings()


def test_variables_of_libraries_and_flags_in_a_file_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "flags"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("XLA_FLAGS", str(file))
    found = []
    for flags in ("--xla_cpu_enable_fast_math=true", "--xla_cpu_enable_fast_math=false"):
        file.write_text(f"{flags}\n")
        found.append((compilation.settings(), compilation.folder()))
        assert found[-1][0] == {"ONEDNN_MAX_CPU_ISA": "AVX2", "XLA_FLAGS": f"{file}: {flags}"}
    assert found[0][1] != found[1][1]  # programs of other flags are not reused


def test_every_setting_that_jax_has_is_either_silent_or_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in jax.config.values:
        monkeypatch.setenv(name.upper(), "x")
    left = set(jax.config.values) - set(compilation.settings()) - set(compilation.PINNED)
    numeric = ("precision", "optimiz", "seed", "prng", "x64", "jit", "promotion", "threefry", "jvp")
    assert not [name for name in left if any(word in name for word in numeric)]


def test_a_run_that_continues_under_other_settings_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _settings(0, None)
    assert first == [[0, {}]]
    assert _settings(10, json.loads(json.dumps(first))) == first
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    second = _settings(10, first)
    assert second == [[0, {}], [10, {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"}]]
    said = capsys.readouterr().err
    assert "from step 10 on other settings of JAX or XLA" in said
    assert 'XLA_FLAGS: no value in the workdir, "--xla_cpu' in said
    for odd in ("x", 3, [3], [["x", {}]], [[1, 2]]):
        assert _settings(10, odd) == [second[1]]
