"""A command that cannot start says why in one line, with exit code 2."""

import signal
import subprocess
import sys
import warnings

import commands
import jax
import pytest

from latentgen.cli import app
from latentgen.system import signals, startup


def ended(code: str, **env: str) -> subprocess.CompletedProcess:
    """Run this code in a process of its own after `startup.guard`, without JAX."""
    load = f"import runpy; starting = runpy.run_path({startup.__file__!r}); starting['guard']()\n"
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
    done = ended("starting['restore_excepthook'](); import json; json.loads('x')")
    assert (done.returncode, "Traceback" in done.stderr) == (1, True)


def test_too_small_an_address_space_is_told() -> None:
    limited = 'ulimit -v 1048576 && exec "$0" -m latentgen.run --help'
    done = subprocess.run(
        ["sh", "-c", limited, sys.executable],
        **dict(cwd=commands.ROOT, capture_output=True, text=True, timeout=60, check=False),
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
        line = app._explain_backend_or_memory(error)
    finally:
        jax.config.update("jax_platforms", before)
    assert line is not None
    assert line.startswith("JAX_PLATFORMS='cuda': ")
    assert line.endswith("JAX_PLATFORMS=cpu computes on the CPU.")
    assert app._explain_backend_or_memory(ValueError("a mistake of ours")) is None


def test_warnings_made_errors_are_not_blamed_on_flags(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        app._show_warnings()
        with pytest.warns(DeprecationWarning, match="old"):  # shown, not raised
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "raise nothing" in capsys.readouterr().err


LATE = """if True:
    import atexit, os, signal, sys
    sys.argv = ["-m"]
    import latentgen  # as `python -m` does
    from latentgen.system import startup
    class Late:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            import time
            time.sleep(0.1)
    {when}
    startup.set_exit_code(0)
    sys.exit(0)
"""


@pytest.mark.parametrize(
    "when",
    [
        "atexit.register(Late().__del__)",  # while libraries clean up
        "sys.modules['late'] = Late()",  # while Python takes modules down: it does not
    ],
)
def test_a_signal_while_the_process_leaves_does_not_kill_it_raw(when: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE.format(when=when)],
        **dict(cwd=commands.ROOT, capture_output=True, text=True, timeout=60, check=False),
    )
    expected = (143, "stopped by SIGTERM; the same command continues.\n")
    assert (done.returncode, done.stderr) == (expected if "atexit" in when else (0, ""))


def test_a_signal_that_a_finalizer_swallows_still_ends_the_command(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Swallows:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def work() -> None:
        with signals.raise_on_signal():
            Swallows()  # Python prints what is raised there, and goes on

    with pytest.raises(signals.Interrupted):
        work()
    assert capfd.readouterr().err == ""
