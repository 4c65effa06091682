"""A disk that fails on command: syscalls.c, compiled, preloaded and controlled."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).with_name("syscalls.c")
NOTHING, KILL, FAIL_ONCE, FAIL_ON = range(4)  # syscalls.c: enum how

Seen = Callable[[int, str, str], None]
"""(n, the call's name, the path) before call n, while no other is made."""

_SEEN = ctypes.CFUNCTYPE(None, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p)


def build(folder: Path) -> Path:
    """The library, compiled into the folder.

    Raises:
        FileNotFoundError: there is no C compiler.
    """
    if (compiler := shutil.which("cc")) is None:
        raise FileNotFoundError("there is no C compiler `cc`")
    library = folder / "syscalls.so"
    if not library.exists():
        command = [
            compiler,
            "-shared",
            "-fPIC",
            "-O1",
            "-Wl,-soname,syscalls.so",
            "-o",
            str(library),
            str(SOURCE),
        ]
        subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return library


def start_over_preloaded(module: str, folder: Path | None) -> Path:
    """Starts `python -m MODULE` again with the same arguments, where it is not preloaded yet.

    Training then uses the CPU with cheap compilation, and keeps its programs in the folder.

    Returns:
        The folder, a temporary one where none is given.
    """
    if os.environ.get("LD_PRELOAD") == "syscalls.so":
        if "syscalls.so" not in Path("/proc/self/maps").read_text():
            raise RuntimeError("syscalls.so was not preloaded")
        return Path(os.environ["FAULTS_FOLDER"])
    folder = (folder or Path(tempfile.mkdtemp(prefix="faults"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # By name: LD_PRELOAD splits paths at spaces, LD_LIBRARY_PATH does not.
    places = [str(build(folder).parent), os.environ.get("LD_LIBRARY_PATH", "")]
    env = {
        "LD_PRELOAD": "syscalls.so",
        "LD_LIBRARY_PATH": ":".join(filter(None, places)),
        "FAULTS_FOLDER": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    env |= {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return os.execve(
        sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], os.environ | env
    )


class Disk:
    """The disk of this process, which was started with the library preloaded."""

    def __init__(self) -> None:
        self._c = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._c.faults_count.restype = ctypes.c_long
        self._c.faults_order.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_int)
        self._c.faults_hook.argtypes = (ctypes.c_void_p,)
        self._hook: object = None  # ctypes keeps no reference to what C calls

    def watch(self, folder: Path) -> None:
        """Counts the calls that change something under this folder, from 1, without a fault."""
        self.order(0, NOTHING)
        self._c.faults_watch(str(folder).encode())

    def order(self, at: int, how: int, error: int = 0) -> None:
        """Set the fault of call `at`."""
        self._c.faults_order(at, how, error)

    def calls(self) -> int:
        """Number of calls so far."""
        return int(self._c.faults_count())

    def see(self, seen: Seen | None) -> None:
        """Has `seen` called before each call; None: no longer."""
        if seen is None:
            self._c.faults_hook(None)
            return
        self._hook = _SEEN(lambda n, name, path: seen(n, name.decode(), path.decode()))
        self._c.faults_hook(ctypes.cast(self._hook, ctypes.c_void_p))  # type: ignore[arg-type]
