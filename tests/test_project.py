"""The house's rules that no single module can break alone without somebody noticing."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import latentgen

PACKAGE = Path(latentgen.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Imports run one way: each layer may import the layers above it in this list, besides itself.
# A module right under latentgen/ is a command and may import everything; nothing imports it.
LAYERS: tuple[set[str], ...] = (
    {"core"},
    {"probability", "networks", "data", "metrics", "system"},
    {"objectives", "storage"},
    {"methods"},
    {"configs"},
    {"training"},
    {"evaluation"},
    {"sweeps"},
    {"baselines"},
    {"reporting", "cli", "api"},
)
MATHEMATICS = {"core", "probability", "networks", "objectives"}
ONLY = {  # what may import less than its layer allows: maths does no I/O and reads no config
    "__init__": {"api", "core", "methods", "system"},
    "core": set(),
    "probability": {"core"},
    "networks": {"core"},
    "objectives": {"core", "probability", "networks"},
    "methods": MATHEMATICS,
    "metrics": {"core"},
    "data": {"core"},
    "cli": {"configs", "core", "storage", "sweeps", "system", "training"},
}


def _allowed() -> dict[str, set[str]]:
    """part -> the parts that it may import."""
    found: dict[str, set[str]] = dict(ONLY)
    above: set[str] = set()
    for layer in LAYERS:
        for part in layer - set(ONLY):
            found[part] = set(above)
        above |= layer
    return found


ALLOWED = _allowed()
# What only one part of latentgen may know of.
HOMES = {
    "flax": "networks",
    "grain": "data",
    "jinja2": "reporting",
    "orbax": "storage",
    "psutil": "system",
    "sklearn": "data",
    "submitit": "sweeps",
    "tensorboardX": "storage",
    "tensorflow_datasets": "data",
}
HEAVY = {
    *("grain", "matplotlib", "sklearn", "submitit", "tensorflow", "tensorflow_datasets", "torch")
}


def part(path: Path) -> str:
    """'core' for latentgen/core/game.py, 'run' for latentgen/run.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


COMMANDS = sorted({part(p) for p in MODULES if p.parent == PACKAGE} - ALLOWED.keys() - {"__main__"})


def imports(source: str, package: str) -> Iterator[tuple[str, ...]]:
    """The dotted names that a module inside `package` imports, in functions too, split."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ((*base, alias.name) for alias in node.names)


def broken_rules(source: str, here: str, package: str) -> list[str]:
    """The imports of a module in the part `here` that the rules above forbid."""
    wrong = []
    for top, *rest in imports(source, package):
        if top == "latentgen" and here in ALLOWED:
            target = rest[0] if rest else "__init__"
            if target not in ALLOWED[here] | {here, "__init__", "__version__"}:
                wrong.append(f"{here} imports latentgen.{target}")
        elif HOMES.get(top, here) != here:
            wrong.append(f"{here} imports {top}, which only {HOMES[top]} may")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    here = part(path)
    package = ".".join(("latentgen", *path.relative_to(PACKAGE).parts[:-1]))
    assert path.parent == PACKAGE or here in ALLOWED, f"{here}/ has no place in ALLOWED"
    assert broken_rules(path.read_text(), here, package) == []


@pytest.mark.parametrize(
    ("source", "here", "wrong"),
    [
        ("from latentgen.core import types", "networks", 0),
        ("from latentgen.networks import mlp", "core", 1),
        ("from latentgen import methods, core", "objectives", 1),
        ("import latentgen.configs", "data", 1),
        ("def f():\n    from latentgen.run import main", "configs", 1),
        ("from ..networks import mlp", "probability", 1),
        ("from . import keys", "core", 0),
        ("import flax.linen as nn", "networks", 0),
        ("from flax import linen", "methods", 1),
        ("import tensorflow_datasets as tfds", "run", 1),
        ("from latentgen.methods import vae", "run", 0),
    ],
)
def test_the_rules_see_each_form_of_import(source: str, here: str, wrong: int) -> None:
    assert len(broken_rules(source, here, f"latentgen.{here}")) == wrong


OPEN = """if True:
    import importlib, json, sys, tempfile
    from latentgen.storage.log import Log
    with tempfile.TemporaryDirectory() as folder:
        log = Log(folder, 0)
        log.write(1, 0.0, "train", {"loss": 1.0})
        log.close()
    loaded = {"a log": sorted(sys.modules)}
    for command in sys.argv[1:]:
        importlib.import_module(f"latentgen.{command}")
        loaded[command] = sorted(sys.modules)
    importlib.util.find_spec("torch")
    print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """The modules of a new interpreter after a log, then after each command in turn."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, *COMMANDS], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return {name: set(modules) for name, modules in json.loads(done.stdout).items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_opens_without_heavy_modules(loaded: dict[str, set[str]], command: str) -> None:
    """Start-up time counts: what not every run needs is imported where it is used.

    The first command that fails brings the module; all after it in the alphabet fail with it.
    """
    assert f"latentgen.{command}" in loaded[command]
    assert HEAVY & loaded[command] == set()


def test_a_log_brings_no_heavy_module(loaded: dict[str, set[str]]) -> None:
    """tensorboardX would import PyTorch; who wants it later still finds it."""
    assert "tensorboardX" in loaded["a log"]
    assert HEAVY & loaded["a log"] == set()


def test_what_stays_beside_a_worker_of_slurm_is_small() -> None:
    code = "import sys, latentgen.sweeps.engines.job; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {"jax", "numpy"} & set(done.stdout.split()) == set()


EXPERIMENTS = sorted(
    path
    for folder in ("experiments", "tests/studies")
    for path in (PACKAGE.parent / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_study_or_benchmark_knows_the_package_as_it_is(path: Path) -> None:
    """No test runs them to their end: what they name of latentgen must at least be there."""
    tree = ast.parse(path.read_text())
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("latentgen"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                found = getattr(module, alias.name)
                if isinstance(found, ModuleType):
                    modules[alias.asname or alias.name] = found
    for node in ast.walk(tree):
        owner = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(owner, ast.Name) and owner.id in modules:
            assert hasattr(modules[owner.id], node.attr), f"{owner.id} has no {node.attr}"


def test_one_version() -> None:
    citation = (PACKAGE.parent / "CITATION.cff").read_text()
    found = re.search(r"^version: (.+)$", citation, re.MULTILINE)
    assert found is not None
    assert found[1] == latentgen.__version__


def test_the_oldest_versions_are_those_that_are_asked_for() -> None:
    root = PACKAGE.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    asked = dict(each.split(">=") for each in project["dependencies"])
    lines = (root / "experiments/oldest.txt").read_text().splitlines()
    tried = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert asked.keys() == tried.keys()
    for name, version in asked.items():
        assert (tried[name] + ".").startswith(version + "."), name


def test_make_help_lists_every_target() -> None:
    makefile = (PACKAGE.parent / "Makefile").read_text().replace("\\\n", " ")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(re.findall(r"^([a-z-]+):.* ## ", makefile, re.MULTILINE))


RIDDLE = re.compile(r"(What|Where|How|Whether|Of|That|Which|So)\b")


def test_docstrings_begin_as_sentences_of_the_field() -> None:
    """An imperative or a noun phrase: below one in a hundred begins otherwise."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for path in MODULES for node in ast.walk(ast.parse(path.read_text()))]
    said = [text for node in nodes if isinstance(node, kinds) and (text := ast.get_docstring(node))]
    riddles = [text.splitlines()[0] for text in said if RIDDLE.match(text)]
    assert len(riddles) < len(said) / 100, riddles


THIRD_PERSON = re.compile(
    r"(Adds|Asks|Begins|Brings|Builds|Checks|Closes|Computes|Creates|Draws|Ends|Finds|Gives|Holds|"
    r"Keeps|Lets|Loads|Logs|Looks|Makes|Opens|Prints|Puts|Raises|Reads|Returns|Runs|Saves|Says|"
    r"Sets|Shows|Signs|Takes|Tells|Trains|Waits|Watches|Writes)\b"
)
GONE = {  # names that were private words for what the field has a word for
    *("Crew", "Elsewhere", "GAMES", "Game", "Heart", "Joint", "Judged", "Looks", "Over", "Record"),
    *(
        "Telling",
        "boxed",
        "crew",
        "dog",
        "door",
        "heart",
        "judged",
        "looks",
        "near_labels",
        "solo",
    ),
    *("people", "squared_slope", "team", "told"),
}


def test_docstrings_of_functions_are_imperative() -> None:
    nodes = [node for path in MODULES for node in ast.walk(ast.parse(path.read_text()))]
    texts = [ast.get_docstring(n) or "" for n in nodes if isinstance(n, ast.FunctionDef)]
    assert [text.splitlines()[0] for text in texts if THIRD_PERSON.match(text)] == []


def _names(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a module gives or uses, without leading underscores."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id.lstrip("_")
        elif isinstance(node, ast.Attribute):
            yield node.attr.lstrip("_")
        elif isinstance(node, ast.arg):
            yield node.arg.lstrip("_")
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name.lstrip("_")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_words_that_are_gone_do_not_come_back(path: Path) -> None:
    assert GONE.isdisjoint(_names(ast.parse(path.read_text())))
