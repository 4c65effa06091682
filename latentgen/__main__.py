"""Run a command: `latentgen run FILE.py` is `python -m latentgen.run FILE.py`.

latentgen COMMAND [--flag=value ...]      latentgen COMMAND --help
latentgen --version                       eval "$(latentgen --completion bash)"
"""

import ast
import contextlib
import io
import os
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import latentgen

INTERNAL = ("worker",)  # commands that engines start
SHELLS = {
    "bash": """_latentgen() { local IFS=$'\\n'
  COMPREPLY=($(latentgen --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)); }
COMP_WORDBREAKS=${COMP_WORDBREAKS//=/}
complete -o default -o nospace -F _latentgen latentgen""",
    "zsh": """_latentgen() { _files
  compadd -S '' -- $(latentgen --complete "${words[@]:1:$CURRENT}" 2>/dev/null) }
compdef _latentgen latentgen""",
}


def commands() -> dict[str, str]:
    """Return command -> first line of its docstring."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if not file.stem.startswith("_") and file.stem not in INTERNAL:
            docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
            found[file.stem] = docstring.partition("\n")[0]
    return found


def listed() -> str:
    """Return the help of `latentgen`."""
    lines = [f"  {name:<10} {summary}" for name, summary in commands().items()]
    return "\n".join([(__doc__ or "").strip(), "", *lines])


def run(name: str, arguments: Sequence[str]) -> None:
    """Run `python -m latentgen.NAME` in this process: with the current folder last on the path."""
    with contextlib.suppress(FileNotFoundError):  # the folder was removed
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)
    sys.argv[:] = [name, *arguments]
    runpy.run_module(f"latentgen.{name}", run_name="__main__", alter_sys=True)


def completions(arguments: Sequence[str]) -> list[str]:
    """Return the completions of the last argument."""
    *before, last = arguments or [""]
    if not before:
        return [name for name in commands() if name.startswith(last)]
    if not last.startswith("-") or before[0] not in commands():
        return []
    printed = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(printed):
        run(before[0], [*before[1:], "--help"])
    flags = re.findall(r"^  --(?:\[no\])?(\w+): ", printed.getvalue(), re.MULTILINE)
    keys = re.findall(r"^  --(config\.[\w.]+)=", printed.getvalue(), re.MULTILINE)
    return [
        completion
        for completion in (f"--{name}=" for name in [*flags, *keys])
        if completion.startswith(last)
    ]


def main() -> None:
    """Run the command that the first argument names."""
    first, *rest = sys.argv[1:] or ["--help"]
    if first == "--version":
        print(f"latentgen {latentgen.__version__}")
    elif first in ("-h", "--help"):
        print(listed())
    elif first == "--completion" and rest and rest[0] in SHELLS:
        print(SHELLS[rest[0]])
    elif first == "--complete":
        print("\n".join(completions(rest)))
    elif first in (*commands(), *INTERNAL):
        latentgen.watch_process()
        run(first, rest)
    else:
        names = ", ".join(commands())
        print(f"error: {first!r} is no command. Valid: {names}, --version.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
