"""What keeps a command from starting is told in a line, with exit code 2."""

import resource
import subprocess
import sys
import warnings

import doors
import jax
import pytest

from latentgen import door, starting


def ended(code: str, **env: str) -> subprocess.CompletedProcess:
    """What a process of its own does with this code after `starting.guard`, without JAX."""
    load = f"import runpy; starting = runpy.run_path({starting.__file__!r}); starting['guard']()\n"
    done = [sys.executable, "-c", load + code]
    return subprocess.run(done, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import json; json.loads('x')",
            "error: the command cannot start: JSONDecodeError: Expect",
        ),
        ("import pathlib; pathlib.Path('/none').stat()", "FileNotFoundError"),
    ],
)
def test_what_libraries_raise_at_the_start_is_one_line(code: str, said: str) -> None:
    done = ended(code)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_once_all_is_imported_there_are_tracebacks() -> None:
    done = ended("starting['done'](); import json; json.loads('x')")
    assert (done.returncode, "Traceback" in done.stderr) == (1, True)


def test_too_small_an_address_space_is_told() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    done = subprocess.run(
        [sys.executable, "-m", "latentgen.run", "--help"],
        **dict(cwd=doors.ROOT, capture_output=True, text=True, timeout=60),
        preexec_fn=limit,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: the address space is limited to 1.00 GiB (ulimit -v); JAX needs at least 2 GiB of "
        "it.\n"
    )


def test_whatever_jax_raises_while_it_looks_for_devices_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax._src.xla_bridge, "_backends", {})
    monkeypatch.setattr(jax._src.xla_bridge, "_backend_factories", {})
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", "cuda")
    try:
        jax.devices("cuda")
    except Exception as error:
        line = door._not_here(error)
    finally:
        jax.config.update("jax_platforms", before)
    assert line is not None
    assert line.startswith("JAX_PLATFORMS='cuda': ")
    assert line.endswith("JAX_PLATFORMS=cpu computes on the CPU.")
    assert door._not_here(ValueError("a mistake of ours")) is None


def test_warnings_made_errors_are_not_blamed_on_flags(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        door._show_warnings()
        with pytest.warns(DeprecationWarning, match="old"):  # shown, not raised
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "raise nothing" in capsys.readouterr().err
