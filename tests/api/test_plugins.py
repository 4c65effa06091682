"""Code of a user's own goes through every command, from a folder outside the repository."""

import json
import shutil
from pathlib import Path

import commands
import pytest

from latentgen.core.errors import BadInput
from latentgen.data import sources
from latentgen.sweeps import folder
from latentgen.system import plugins

EXAMPLE = commands.ROOT / "experiments" / "extending"
TINY = [
    *("--config.steps=20", "--config.every.log=10", "--config.every.validate=20"),
    *("--config.every.sample=20", "--config.every.checkpoint=20", "--config.batch_size=16"),
    *("--config.generator.hidden=8,", "--config.discriminator.hidden=8,"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, and a run trained in it."""
    place = Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("mine") / "project"))
    done = commands.run("run", "config.py", *TINY, "--workdir=trained", cwd=place)
    assert done.returncode == 0, done.stderr
    return place


def test_it_trains_and_its_source_is_in_the_figures(project: Path) -> None:
    summary = json.loads((project / "trained" / "summary.json").read_text())
    config = json.loads((project / "trained" / "config.json").read_text())
    assert config["plugins"] == ["my_idea"]
    assert len(summary["plugins"]["my_idea"]) == 16
    assert {"discriminator_value", "generator_loss"} <= set(summary["final"]["train"])


def test_it_samples_and_is_measured_by_its_own_metric(project: Path) -> None:
    done = commands.run("sample", "--workdir=trained", "--out=x.npz", "--num=7", cwd=project)
    assert done.returncode == 0, done.stderr
    done = commands.run("evaluate", "--workdir=trained", "--metrics=contrast", cwd=project)
    assert done.returncode == 0, done.stderr
    (line,) = (project / "trained" / "evaluations.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert 0.2 < found["values"]["real"] < 0.5
    assert found["plugins"].keys() == {"my_idea"}


@pytest.mark.long
@pytest.mark.parametrize("engine", ["vmap", "local"])
def test_it_sweeps_and_the_snapshot_holds_it(project: Path, engine: str, tmp_path: Path) -> None:
    done = commands.run(
        *("sweep", "config.py", *TINY, "--seeds=0:2", f"--engine={engine}"),
        f"--workdir={tmp_path / 'sweep'}",
        cwd=project,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("sweep/runs/*/summary.json"))) == 2
    if engine == "local":
        assert len(list(tmp_path.glob(f"sweep/{folder.SOURCE}/*/my_idea.py"))) == 1


def test_without_its_module_a_line_says_so(project: Path, tmp_path: Path) -> None:
    done = commands.run("sample", f"--workdir={project / 'trained'}", "--out=x.npz", cwd=tmp_path)
    assert done.returncode == 2
    assert "error: config.plugins='my_idea': there is no such module; install it" in done.stderr


def test_code_of_a_workdir_is_not_run(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "trained", tmp_path / "run")
    (tmp_path / "run" / "my_idea.py").write_text("raise SystemExit('it was run')\n")
    done = commands.run("sample", "--workdir=.", "--out=x.npz", cwd=tmp_path / "run")
    assert done.returncode == 2
    assert "code of a workdir is not run" in done.stderr


def test_a_data_set_of_a_plugin_is_loaded_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    plugins.load(["my_idea"])
    found = sources.load("stripes")
    assert {split: len(e.label) for split, e in found.splits.items()} == {
        "train": 900,
        "validation": 100,
    }
    x, label = found.splits["train"].x, found.splits["train"].label
    assert (x[label == 0] == x[label == 0][:, :, :1]).all()
    assert (x[label == 1] == x[label == 1][:, :1]).all()
    with pytest.raises(BadInput, match="did you mean 'stripes'"):
        sources.load("stripe")


def test_one_thing_of_a_module_is_named_with_a_colon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    assert plugins.resolve("config.a", "my_idea:sphere")(3).dim == 3
    named = {"method": {"loss": "my_idea:loss"}, "data": {"name": "a:b"}}
    assert plugins.names(named) == ["my_idea"]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("not_there:a", "config.a='not_there': there is no such module"),
        ("numpy:nothing", "config.a='numpy:nothing': the module 'numpy' has no 'nothing'"),
        ("os..path:join", "must be the name of a module"),
    ],
)
def test_what_cannot_be_had_is_told(reference: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        plugins.resolve("config.a", reference)
    assert said in str(error.value)


def test_a_module_that_fails_is_told_in_a_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fails_on_import.py").write_text("1 / 0\n")
    with pytest.raises(BadInput, match="cannot be imported: ZeroDivisionError: division by zero"):
        plugins.load(["fails_on_import"])


def test_code_of_a_workdir_is_not_run_by_a_dotted_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "sweeps" / "mine" / "runs" / "a"
    run.mkdir(parents=True)
    (tmp_path / "sweeps" / "mine" / "sweep.json").write_text("{}")
    for place in (run, tmp_path / "sweeps" / "mine"):  # of the run, and of its sweep
        (place / "evil.py").write_text("raise SystemExit('it was run')\n")
        name = ".".join((*place.relative_to(tmp_path).parts, "evil"))
        with pytest.raises(BadInput, match="code of a workdir is not run"):
            plugins.check_outside({"plugins": [name]}, run)
    plugins.check_outside({"plugins": ["my_idea"]}, run)


@pytest.mark.parametrize("reference", ["os:_exit", "builtins:input"])
def test_functions_of_python_itself_are_not_called(reference: str) -> None:
    with pytest.raises(BadInput, match="must be the name of a module of yours"):
        plugins.resolve("config.method.prior", reference)


@pytest.mark.parametrize("link", ["package/__pycache__", "numpy"])
def test_a_snapshot_with_a_link_is_no_copy(link: str, tmp_path: Path) -> None:
    source, copy = tmp_path / "a.py", tmp_path / "copy"
    source.write_text("a = 1\n")
    (copy / "package").mkdir(parents=True)
    shutil.copy(source, copy / "package" / "a.py")
    files = {"package/a.py": source}
    assert folder._is_copy(copy, files)
    (tmp_path / "elsewhere").mkdir()
    (copy / link).symlink_to(tmp_path / "elsewhere")
    assert not folder._is_copy(copy, files)
