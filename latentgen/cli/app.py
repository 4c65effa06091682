"""Shared code of all commands: flags, errors in one line, exit codes."""

import contextlib
import faulthandler
import math
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from latentgen.cli import help
from latentgen.configs import recipes
from latentgen.configs.section import plain
from latentgen.core.errors import BadInput, Diverged, Stopped, shortened
from latentgen.core.types import PyTree
from latentgen.storage import aliases, workdir
from latentgen.storage.checkpoint import Damaged
from latentgen.system import distributed, signals, startup, streams
from latentgen.system.compilation import enable_compilation_cache, pin_settings
from latentgen.system.distributed import PeerLost, RemoteProcessError
from latentgen.system.watchdog import exit_immediately
from latentgen.training import choice, setup
from latentgen.training.setup import Run

FLAGS = flags.FLAGS
EXIT_BAD_INPUT, EXIT_DAMAGED, EXIT_IO, EXIT_DIVERGED, EXIT_MEMBERS = 2, 3, 4, 5, 6
LONGEST = 2_000  # characters of an error's line
BACKENDS = os.path.join("jax", "_src", "xla_bridge.py")  # where JAX looks for devices
ELSEWHERE = {"BadInput": EXIT_BAD_INPUT, "Damaged": EXIT_DAMAGED, "OSError": EXIT_IO}


CONFIG = "config"
CONFIG_FILE = re.compile(rf"[^-].*\.py(:|$)|{recipes.PREFIX}")
_source: recipes.Source | None = None


def define_config_flag(values: flags.FlagValues = FLAGS) -> None:
    """Define `--config FILE[:variant]`; `check_config` defines `--config.a.b=value` of its keys."""
    flags.DEFINE_string(
        CONFIG,
        None,
        "FILE.py[:variant], or latentgen:RECIPE[:variant]; --config.KEY=VALUE changes a key.",
        flag_values=values,
    )


def define_data_flags() -> None:
    """Define flags for the data sets' folders on this machine: no part of a run's identity."""
    flags.DEFINE_string(
        "data_dir", None, "Where TFDS keeps prepared data sets (default: TFDS's own)."
    )
    flags.DEFINE_string("manual_dir", None, "A folder with a data set's original files.")


def define_device_flags() -> None:
    """Define flags for a run's devices and processes: no part of its identity."""
    flags.DEFINE_integer(
        "devices", None, "How many of each process's devices (default: all).", lower_bound=1
    )
    flags.DEFINE_integer(
        "fsdp", 1, "Over how many devices large parameters are split.", lower_bound=1
    )
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where there are several.")
    flags.DEFINE_integer("num_processes", None, "How many there are.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)
    flags.DEFINE_integer(
        "heartbeat",
        distributed.HEARTBEAT,
        "Seconds after which a process that gives no sign of life is missed.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "stuck",
        distributed.STUCK,
        "Seconds, at least, that a chunk may take before the process ends as stuck; inf: any.",
        lower_bound=0.1,
    )


@contextlib.contextmanager
def silence_other_processes() -> Iterator[None]:
    """Drop the output of all processes except process 0 within the context."""
    if distributed.is_process_zero():
        yield
        return
    with open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield


@contextlib.contextmanager
def command(
    parse: Callable[[list[str], flags.FlagValues], None] | None = None,
    positional: str | None = None,
) -> Iterator[None]:
    """Parse the flags and run the context as a command; errors end it with one line.

    Exit codes: 2 for bad input, 3 for a damaged checkpoint, 4 if a file cannot be read or written,
    5 for a run that diverged, 75 if another process is lost or this one is stuck, 128 + n after
    signal n.

    Args:
        parse: called with the arguments before the flags are parsed.
        positional: the flag that a positional argument sets; None: there is none.
    """
    try:
        rest = _parse(parse)
        with _end_on_signal():
            startup.restore_excepthook()
            with _exit_with_one_line():
                _set_positional(rest[1:], positional)
                pin_settings()
                enable_compilation_cache()
                yield
                if error := streams.stdout_error():
                    _exit_with_error(f"stdout: {error.strerror}.", EXIT_IO)
    except SystemExit as end:
        startup.set_exit_code(end.code)
        raise
    startup.set_exit_code(None)


def _parse(parse: Callable[[list[str], flags.FlagValues], None] | None) -> list[str]:
    """Parse the command line as `absl.app.run` does; return the arguments that are no flags."""
    app.define_help_flags()
    logging.use_absl_handler()
    try:
        rest = parsed(list(sys.argv), parse)
    except BadInput as error:
        return _exit_with_error(str(error))
    with contextlib.suppress(Exception):  # stderr may be no file
        faulthandler.enable()
    if not FLAGS["verbosity"].present:  # absl's own default chats
        logging.set_verbosity(logging.WARNING)
    return rest


@contextlib.contextmanager
def _end_on_signal() -> Iterator[None]:
    try:
        with signals.raise_on_signal():
            yield
    except signals.Interrupted as stop:
        signals.mark_reported()
        if distributed.is_process_zero():
            print(f"{stop}; {signals.RESUME_HINT}", file=sys.stderr)
        sys.exit(128 + stop.signum)


@contextlib.contextmanager
def _exit_with_one_line() -> Iterator[None]:
    """Print an expected error within the context in one line, and exit with its code."""
    try:
        yield
    except BadInput as error:
        _exit_with_error(str(error))
    except Damaged as error:
        _exit_with_error(str(error), EXIT_DAMAGED)
    except Diverged as error:
        _exit_with_error(str(error), EXIT_DIVERGED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _exit_with_error(f"{where}{error.strerror or error}.", EXIT_IO)
    except RemoteProcessError as error:
        _exit_with_error(str(error), ELSEWHERE.get(error.kind, 1))
    except PeerLost as error:
        exit_immediately(str(error))
    except Stopped as stop:
        if distributed.is_process_zero():
            print(f"{stop}; {signals.RESUME_HINT}", file=sys.stderr)
        sys.exit(128 + stop.signum)
    except Exception as error:
        if (line := _explain_backend_or_memory(error)) is None:
            raise
        _exit_with_error(line)


def _explain_backend_or_memory(error: Exception) -> str | None:
    """Explain a missing JAX backend or lack of memory in a line; return None for other errors."""
    message = next(iter(str(error).splitlines()), "")
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if "Unable to initialize backend" in message or any(f.endswith(BACKENDS) for f in files):
        asked = os.environ.get("JAX_PLATFORMS", "")
        why = message or f"this installation of JAX has no such backend ({type(error).__name__})"
        return f"JAX_PLATFORMS={asked!r}: {why}; JAX_PLATFORMS=cpu computes on the CPU."
    if isinstance(error, MemoryError) or message.startswith("RESOURCE_EXHAUSTED"):
        return f"the machine's memory is too small for this: {message or 'no more can be had'}."
    return None


def parsed(
    argv: list[str],
    parse: Callable[[list[str], flags.FlagValues], None] | None,
    values: flags.FlagValues = FLAGS,
) -> list[str]:
    """Parse the flags; return the remaining arguments.

    Args:
        argv: the command's name and its arguments.
        parse: see `run`.
        values: the flags.

    Raises:
        BadInput: an argument cannot be parsed, or an override is not plain data.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise BadInput("the current folder has been removed; change to another one.") from None
    for argument in argv:
        if not _is_text(argument):
            raise BadInput(f"{argument!r} is not text in this locale's encoding.")
    _show_warnings()
    if help.asked(argv):
        print(help.text(values, _pop_config(argv, values)))
        sys.exit(0)
    if parse is not None:
        parse(argv, values)
    try:
        rest = values(argv)
    except flags.Error as error:
        raise BadInput(next(iter(str(error).splitlines()), type(error).__name__)) from None
    except (Exception, SystemExit) as error:  # raised by ml_collections' parsers or a config file
        if isinstance(error, SystemExit) and _raised_in(error) == app.__file__:
            sys.exit(0)  # absl exits with 1 after it has printed the help
        raise _parse_error(argv, error) from None
    for name in values:
        if isinstance(value := values[name].value, float) and math.isnan(value):
            raise BadInput(f"--{name}=nan must be a number.")
    if "workdir" in values and values["workdir"].value == "":
        raise BadInput("--workdir is empty; name a folder.")
    if CONFIG in values and isinstance(found := values[CONFIG].value, ConfigDict):
        recipes.check_plain(found.to_dict())
    return rest


def _parse_error(argv: Sequence[str], error: BaseException) -> BadInput:
    overrides = [
        shortened(argument) for argument in argv[1:] if _override_key(argument) is not None
    ]
    arguments = " ".join(overrides or argv[1:])
    return BadInput(f"{arguments} cannot be parsed ({type(error).__name__}: {error}).")


def _show_warnings() -> None:
    """Show warnings instead of raising them (PYTHONWARNINGS=error, -W error).

    Some libraries always warn, which would end every command.
    """
    if any(option.startswith("e") for option in sys.warnoptions):
        print("Warnings are shown here, and raise nothing.", file=sys.stderr)
        warnings.simplefilter("default")


def _raised_in(error: BaseException) -> str:
    """Return the file whose code raised an exception."""
    return traceback.extract_tb(error.__traceback__)[-1].filename


def _is_text(argument: str) -> bool:
    """Return whether an argument is valid Unicode; Python keeps other bytes as surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _set_positional(arguments: Sequence[str], flag: str | None) -> None:
    """Set the flag of the positional argument.

    Raises:
        BadInput: there is no such flag, it is already set, or there are several arguments.
    """
    if not arguments:
        return
    if flag is None or len(arguments) > 1:
        raise BadInput(f"{arguments[-1]!r} is not a flag; write flags as --name=value.")
    if FLAGS[flag].present:
        raise BadInput(
            f"{arguments[0]!r} and --{flag}={FLAGS[flag].value!r} say the same; name one."
        )
    FLAGS[flag].value = arguments[0]


def _exit_with_error(line: str, code: int = EXIT_BAD_INPUT) -> Any:
    if distributed.is_process_zero():
        print(f"error: {shortened(' '.join(line.split()), LONGEST)}", file=sys.stderr)
    sys.exit(code)


def check_config(argv: list[str], values: flags.FlagValues = FLAGS) -> None:
    """Load the config of `--config` or of a positional argument, and define flags for its keys.

    The config's name is removed from `argv`, and so are overrides that ml_collections cannot parse:
    `--config.KEY=None` of keys whose default is None, and a schedule in place of a number.

    Raises:
        BadInput: the file is missing or fails, or an override names no key of it.
    """
    if any(argument.lstrip("-").startswith("help") for argument in argv[1:]):
        return
    name = _pop_config(argv, values)
    if not name:
        raise BadInput("--config is missing: name a file such as experiments/vae.py.")
    try:
        loaded = recipes.load(name)
    except BadInput as error:
        raise BadInput(f"--config={name!r}: {error}") from None
    keys = workdir.flatten(loaded.to_dict())
    argv[:] = [_rename_key(argument, keys) for argument in argv]
    overrides = [
        (key, value)
        for argument, following in pairwise([*argv[1:], ""])
        if (key := _override_key(argument)) is not None
        and (value := argument.partition("=")[2] if "=" in argument else following) is not None
    ]
    for key, value in overrides:
        recipes.check_override(key, value, keys)
    none = {key for key, value in dict(overrides).items() if value == "None" and keys[key] is None}
    none |= recipes.exchange_schedules(loaded, dict(overrides), keys)
    argv[:] = [
        argument for argument in argv if "=" not in argument or _override_key(argument) not in none
    ]
    for flag in [flag for flag in values if flag == CONFIG or flag.startswith(f"{CONFIG}.")]:
        delattr(values, flag)
    global _source
    _source = recipes.source(name)
    try:
        config_flags.DEFINE_config_dict(CONFIG, loaded, flag_values=values, sys_argv=argv)
    except flags.Error as error:  # one override that another one replaces
        raise BadInput(str(error).removeprefix("ERROR:: ")) from None
    except Exception as error:
        raise _parse_error(argv, error) from None


def _pop_config(argv: list[str], values: flags.FlagValues) -> str:
    """Remove the config's name from the arguments; return the last one, or '' if there is none."""
    found, rest, arguments = "", argv[:1], iter(argv[1:])
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-config"):
            found = value if equals else next(arguments, "")
        elif CONFIG_FILE.match(argument) and not _needs_value(rest[-1], values):
            found = argument
        else:
            rest.append(argument)
    argv[:] = rest
    return found


def _needs_value(argument: str, values: flags.FlagValues) -> bool:
    """Return whether this argument is a flag whose value is the next argument."""
    if not argument.startswith("-") or "=" in argument:
        return False
    name = argument.lstrip("-")
    return name not in values or not values[name].boolean


def _rename_key(argument: str, keys: Mapping[str, Any]) -> str:
    """Replace a former key by its current name: --config.method.loss for --config.method.game."""
    key = _override_key(argument)
    if key is None or key in keys or (now := aliases.current_key(key)) not in keys:
        return argument
    print(f"config.{key} is now config.{now}", file=sys.stderr)
    return argument.replace(key, now, 1)


def _override_key(argument: str) -> str | None:
    """Return the key of an override such as --config.a.b=1; None for other arguments."""
    if not argument.startswith(("--config.", "-config.")):
        return None
    return argument.partition("=")[0].partition(".")[2]


def config() -> dict[str, Any]:
    """Return the config with its overrides, as plain JSON data."""
    return plain(FLAGS.config.to_dict())


def default_workdir() -> str:
    """Return the default workdir of the config; see `recipes.Source.workdir`."""
    assert _source is not None, "check_config() comes first"
    return _source.workdir


def restore_trained(folder: Path | None = None, data: bool = True) -> tuple[Run, int, PyTree]:
    """Restore a run at checkpoint --step or --checkpoint; return (run, step, state).

    Args:
        folder: the run's folder; None: --workdir.
        data: whether to read the data at once; False: when they are first used.

    Raises:
        BadInput: there is no such run or checkpoint.
    """
    if folder is None:
        check_trained()
    folder = folder or Path(FLAGS.workdir)
    run = setup.reopen(folder, FLAGS.data_dir, FLAGS.manual_dir, lazily=not data)
    flags_ = ("--step", "--checkpoint")
    return run, *choice.restore_kind(run, FLAGS.step, FLAGS.checkpoint, flags_)


def restore_weights() -> tuple[Run, int, PyTree]:
    """Restore a run as `restore_trained` does, without its data, with the weights of --weights."""
    run, step, state = restore_trained(data=False)
    return run, step, choice.with_weights(run, state, FLAGS.weights, "--weights")[1]


def check_trained() -> None:
    """Check that --workdir holds a run.

    Raises:
        BadInput: it does not.
    """
    if FLAGS.workdir is None:
        raise BadInput("--workdir is missing: name the folder of a run.")
    setup.config(Path(FLAGS.workdir))


def define_weights_flag() -> None:
    """Define the flag of a command that looks at a run with some of its weights."""
    flags.DEFINE_string(
        "weights",
        None,
        "ema: the moving average; raw: the weights of the last step; a number of "
        "config.method.ema_more: that average (default: those that are sampled).",
    )


def define_trained_flags() -> None:
    """Define the flags of a command that reads a run."""
    flags.DEFINE_string("workdir", None, "The folder of a finished or running run.")
    flags.DEFINE_integer("step", None, "Which checkpoint (default: the newest).", lower_bound=0)
    flags.DEFINE_string(
        "checkpoint",
        choice.NEWEST,
        "newest, or best: by the measure that the run took during training.",
    )
    flags.DEFINE_integer(
        "seed", 0, "Of the random numbers drawn here.", lower_bound=0, upper_bound=2**32 - 1
    )
    define_data_flags()
