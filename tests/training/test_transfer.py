"""Runs that go on with another config, and runs that begin with the weights of another one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run as command
from commands import tiny
from small import config, figures, one_program, state

from latentgen.core.errors import BadInput
from latentgen.storage import status, workdir
from latentgen.storage.checkpoint import by_path
from latentgen.sweeps.plan import changed
from latentgen.training import loop, setup, trainer, transfer

STEPS = 40


def trained(
    folder: Path, extend: bool = False, allowed: tuple[str, ...] = (), **changes: Any
) -> setup.Run:
    """The run of `small.config` with these changes, trained to its end."""
    plain = changed(config(**changes), {})
    found = setup.load(folder, plain, None, None)
    found = found._replace(may_change=transfer.may_change(extend, allowed, plain))
    trainer.train(found)
    return found


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 40 steps."""
    folder = tmp_path_factory.mktemp("short") / "run"
    trained(folder)
    return folder


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_an_extended_run_is_the_longer_run_bitwise(short: Path, tmp_path: Path) -> None:
    with one_program():
        whole = trained(tmp_path / "whole", steps=60)
    place = copied(short, tmp_path / "run")
    trained(place, extend=True, steps=60)
    for a, b in zip(state(whole.folder), state(place), strict=True):
        assert a.tobytes() == b.tobytes()
    assert figures(place) == figures(whole.folder)
    assert setup.config(place) == setup.config(whole.folder)
    (entry,) = workdir.history(place)
    assert entry == {"step": STEPS, "changed": {"steps": [STEPS, 60]}}
    summary = json.loads((place / "summary.json").read_text())
    assert (summary["steps"], summary["history"]) == (60, [entry])
    assert setup.finished(place, whole.config)  # without --extend, too


def test_stopped_while_it_goes_on_it_is_not_finished_and_continues(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = copied(short, tmp_path / "run")
    longer = changed(config(steps=60), {})
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", lambda *_, **__: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            trained(place, extend=True, steps=60)
    assert not setup.finished(place, longer)
    trained(place, steps=60)  # the folder's config is the longer one now
    assert json.loads((place / "summary.json").read_text())["steps"] == 60
    assert len(workdir.history(place)) == 1


@pytest.mark.long
def test_from_a_last_step_between_two_lines_of_the_log_it_goes_back(tmp_path: Path) -> None:
    """A run of 35 steps ends with a short chunk; the longer one has no line there."""
    trained(tmp_path / "run", steps=35)
    trained(tmp_path / "run", extend=True, steps=40)
    assert workdir.history(tmp_path / "run")[0]["step"] == 30
    lines = [line["step"] for line in figures(tmp_path / "run") if line["split"] == "train"]
    assert lines == [10, 20, 30, 40]


def test_data_that_were_moved_are_the_same_and_others_are_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (1_900, 8, 8, 1), np.uint8)
    for name, start in (("a", 0), ("b", 0), ("c", 100)):
        np.save(tmp_path / f"{name}.npy", x[start : start + 1_800])
    place = tmp_path / "run"

    def train(name: str, **changes: Any) -> None:
        data = {"data.name": f"arrays:{tmp_path / name}.npy", "data.preprocess": "unit"}
        trained(place, extend=bool(changes), **(data | changes))

    train("a")
    before = figures(place)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(BadInput, match="was trained on other data: sha256"):
        train("c")
    assert status.read(place).status == "done"
    train("b")  # only its path changes
    assert figures(place) == before
    assert setup.config(place)["data"]["name"].endswith("b.npy")
    assert workdir.history(place)[0]["changed"].keys() == {"data.name"}
    train("b", steps=60)
    assert figures(place)[-1]["step"] == 60


REFUSED = {
    "another rate": (dict(steps=60, **{"generator_optimizer.lr": 0.1}), ["generator_optimizer.lr"]),
    "fewer steps": (dict(steps=20), ["config.steps=20 must be more than 40"]),
    "intervals": (
        {"steps": 77, "every.log": 7, "every.validate": 7}
        | {"every.sample": 7, "every.checkpoint": 7},
        ["config.every.log=7 must divide a checkpoint", "20, 30, 40"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_and_changes_nothing(case: str, short: Path) -> None:
    changes, words = REFUSED[case]
    files = [short / "config.json", short / "status.json"]
    before = [file.read_bytes() for file in files]
    with pytest.raises(BadInput) as caught:
        trained(short, extend=True, **changes)
    assert all(word in str(caught.value) for word in words)
    assert [file.read_bytes() for file in files] == before
    assert (short / "checkpoints" / "40").is_dir()


def test_a_rate_changes_where_it_is_allowed_and_the_record_says_from_where(
    short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = copied(short, tmp_path / "run")
    key = "generator_optimizer.lr"
    trained(place, extend=True, allowed=(key,), steps=50, **{key: 0.0005})
    assert f"from step 40 on: {key}: 0.0002 -> 0.0005, steps: 40 -> 50" in capsys.readouterr().err
    assert workdir.history(place)[0]["changed"].keys() == {key, "steps"}
    plain = copied(short, tmp_path / "plain")
    trained(plain, extend=True, steps=50)
    pairs = zip(state(place), state(plain), strict=True)
    assert any(a.tobytes() != b.tobytes() for a, b in pairs)


@pytest.mark.long
def test_a_schedule_over_the_length_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cosine = {"generator_optimizer.schedule": "cosine"}
    trained(tmp_path / "run", steps=10, **cosine)
    assert "spread" not in capsys.readouterr().err
    trained(tmp_path / "run", extend=True, steps=20, **cosine)
    said = "config.generator_optimizer.schedule='cosine' is spread over config.steps: from step 10"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("key", ["optimizer.lr", "data.name", "method.name"])
def test_keys_that_cannot_change_are_named(key: str) -> None:
    with pytest.raises(BadInput, match=f"--allow_change={key}"):
        transfer.may_change(True, [key], changed(config(), {}))


def begun(folder: Path, source: str, players: tuple[str, ...] = (), **changes: Any) -> setup.Run:
    found = setup.load(folder, changed(config(**changes), {}), None, None)
    return transfer.init_from(found, source, players)


def leaves(tree: Any) -> dict[str, np.ndarray]:
    return {path: np.asarray(leaf) for path, leaf in by_path(tree).items()}


@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_a_run_begins_with_anothers_weights_and_says_whose(
    ema: float, short: Path, tmp_path: Path
) -> None:
    """Weights and averages as they were; the optimizer's moments are new."""
    _, theirs = setup.restore(setup.reopen(short, None, None), 30)
    run = begun(tmp_path / "run", f"{short}:30", **{"method.ema_decay": ema, "steps": 10})
    drawn, mine = (
        leaves(run.eval_fns.init(run.key)),
        leaves(transfer.begun(run, run.eval_fns.init(run.key))),
    )
    source = leaves(theirs)
    for path, x in mine.items():
        where = path if ema else f"state.{path}"
        expected = drawn[path] if ".opt" in f".{path}" else source[where]
        assert x.tobytes() == expected.tobytes(), path
    trainer.train(run)
    for file in ("data.json", "summary.json"):
        told = json.loads((run.folder / file).read_text())["init_from"]
        assert (told["workdir"], told["step"]) == (str(short), 30)
        assert (
            told["players"].keys()
            == {"generator", "discriminator", "prior"} & told["players"].keys()
        )
    setup.reopen(run.folder, None, None)  # who looks at it need not name the other run


def test_some_players_only(short: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", str(short), ("generator",), **{"discriminator.hidden": (4,)})
    assert {path.split(".")[2] for path in run.weights if path.startswith("state.")} == {
        "generator"
    }
    assert run.origin is not None
    assert run.origin["step"] == STEPS


def test_what_cannot_begin_a_run_is_told(short: Path, tmp_path: Path) -> None:
    smaller = {"discriminator.hidden": (4,)}
    with pytest.raises(BadInput, match=r"discriminator.Hidden_0.*\(8,\) there and .*\(4,\) here"):
        begun(tmp_path / "run", str(short), **smaller)
    with pytest.raises(BadInput, match="--players=decoder is no player here; valid: "):
        begun(tmp_path / "run", str(short), ("decoder",))
    with pytest.raises(BadInput, match=r"has no checkpoint 7: there are \[20, 30, 40\]"):
        begun(tmp_path / "run", f"{short}:7")
    with pytest.raises(BadInput, match="holds no run"):
        begun(tmp_path / "run", str(tmp_path))


def test_a_run_that_was_killed_before_its_first_checkpoint_asks_for_the_weights_again(
    short: Path, tmp_path: Path
) -> None:
    run = begun(tmp_path / "run", str(short))
    workdir.prepare(run.folder)
    workdir.sign(run.folder, run.config, run.identity() | {"init_from": run.origin})
    again = setup.load(run.folder, run.config, None, None)
    with pytest.raises(BadInput, match=f"--init_from={short}:40 again"):
        trainer.train(again)


def test_the_command_extends_a_run_and_names_weights_that_do_not_fit(
    short: Path, tmp_path: Path
) -> None:
    flags = [*tiny("gan"), f"--workdir={tmp_path}/run"]
    flags += [f"--config.every.{name}=10" for name in ("validate", "sample", "checkpoint")]
    refused = command("run", *flags, "--config.steps=10", f"--init_from={short}")
    assert refused.returncode == 2
    assert "there and float32(16,) here; name the --players that fit" in refused.stderr
    assert not (tmp_path / "run").exists()
    done = command("run", *flags, "--config.steps=10")
    assert done.returncode == 0, done.stderr
    refused = command("run", *flags, "--config.steps=20")
    assert refused.returncode == 2
    assert "steps: 10 in the workdir, 20 now. Name another workdir, or see --extend" in (
        refused.stderr
    )
    done = command("run", *flags, "--config.steps=20", "--extend")
    assert done.returncode == 0, done.stderr
    assert "from step 10 on: steps: 10 -> 20" in done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 20


def test_the_origin_of_a_finished_run_is_checked(short: Path) -> None:
    transfer.check_origin(short, None)
    with pytest.raises(BadInput, match="is finished and began with random weights"):
        transfer.check_origin(short, "runs/other:10")


def test_checkpoints_without_the_identity_of_their_data_are_refused(
    short: Path, tmp_path: Path
) -> None:
    place = copied(short, tmp_path / "run")
    (place / "data.json").unlink()
    with pytest.raises(BadInput, match=r"has checkpoints but no data\.json"):
        trained(place, extend=True, steps=60)
    assert not (place / "data.json").exists()
