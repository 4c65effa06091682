"""The ledger: results, table and baselines agree, and disagreement is found."""

import copy
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import commands
import pytest
from ml_collections import ConfigDict

from latentgen import configs, reproduce
from latentgen.baselines import costs, measuring, running, store, table
from latentgen.baselines.checks import claims, complaints
from latentgen.baselines.claims import BUDGETS, Baseline, Exact, Recipe
from latentgen.core.errors import BadInput

FOLDER = commands.ROOT / store.FOLDER
BASELINES = store.every(FOLDER)
RESULTS = store.results(FOLDER)
KEYS = store.entries(FOLDER).keys()
PAGE = (commands.ROOT / "experiments" / "baselines" / "README.md").read_text()
UNREAD = {"uivi_fashion", "uivi_fashion_adam", "vamp_fashion", "vcd_fashion"}
"""Baselines whose numbers nobody here has read in their paper."""


@pytest.mark.parametrize("name", BASELINES)
def test_each_baseline_is_cited_and_its_result_is_todays(name: str) -> None:
    assert complaints(name, BASELINES[name], RESULTS.get(name), KEYS) == []


def test_each_result_has_a_baseline_and_the_page_says_what_the_files_say() -> None:
    assert RESULTS.keys() <= BASELINES.keys()
    assert table.differences(PAGE, table.render(BASELINES, RESULTS)) == []


def test_what_nobody_has_read_is_called_so() -> None:
    """After reading one of these papers, remove its name from UNREAD."""
    trusted = {name: {claim.trust for claim in each.claims} for name, each in BASELINES.items()}
    assert {name for name, trust in trusted.items() if "unverified" in trust} == UNREAD
    exact = {name for name, each in BASELINES.items() if isinstance(each.recipe, Exact)}
    assert {name for name, trust in trusted.items() if "exact" in trust} == exact


@pytest.mark.parametrize("name", [n for n, b in BASELINES.items() if isinstance(b.recipe, Recipe)])
def test_a_claim_says_on_what_data_and_split_it_is_comparable_and_smoke_is_short(name: str) -> None:
    """The name of the data is the one that a run of its recipe records; its smoke is short."""
    recipe = BASELINES[name].recipe
    smoke = running.members(recipe, "smoke", 1).values()
    assert max(member.config["steps"] for member in smoke) <= 50
    trained_on = recipe.config("paper").data.name
    recorded = "folder" if trained_on.startswith("folder:") else trained_on
    for claim in BASELINES[name].claims:
        assert claim.protocol["data.name"] == recorded
        for part in claim.of.split(" - "):
            measure = part.split(":")[1].split("/")[0]
            assert claim.protocol[f"{measure}.split"] in ("test", "train")


COMPUTED = [name for name, found in BASELINES.items() if isinstance(found.recipe, Exact)]
OF_DATA = ("estimates", "linear_vae")


def assert_held(name: str, **changes: object) -> None:
    """Check that the values of the smoke form lie within the margins of the claims."""
    found = BASELINES[name]
    computed = found.recipe.compute(found.recipe.settings("smoke") | changes, 0)
    held = {claim.of: claim.margin for claim in found.claims if claim.of in computed}
    assert held
    for of, (low, high) in held.items():
        assert low < computed[of] < high, of


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.quick(1)
def test_exact_rows_hold_in_their_smoke_form(name: str) -> None:
    """They hold for any data; use the embedded digits."""
    assert_held(name, **{"data": "digits"} if name in OF_DATA else {})


@pytest.mark.long
@pytest.mark.parametrize("name", OF_DATA)
@pytest.mark.usefixtures("fashion_mnist")
def test_exact_rows_hold_of_fashion_mnist(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert_held(name)


def test_the_rows_that_need_data_are_known() -> None:
    smoke = {name: BASELINES[name].recipe.settings("smoke") for name in COMPUTED}
    assert {name for name, settings in smoke.items() if "data" in settings} == set(OF_DATA)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", BASELINES)
def test_each_budget_describes_runs_or_settings(name: str, budget: str) -> None:
    found = BASELINES[name]
    assert found.minutes.keys() == found.seeds.keys() == set(BUDGETS)
    assert all(set(claim.budgets) <= {"cpu", "paper"} for claim in found.claims)
    json.dumps(store.identity(found, budget), allow_nan=False)
    if isinstance(found.recipe, Exact):
        return
    for member in running.members(found.recipe, budget, 2).values():
        configs.experiment(member.config)
    arms = {part.split(":")[0] for claim in found.claims for part in claim.of.split(" - ")}
    assert arms <= found.recipe.arms.keys()


@pytest.fixture
def exact() -> tuple[Baseline, dict]:
    """A baseline and its result, to be changed."""
    return BASELINES["dirac_gan"], copy.deepcopy(RESULTS["dirac_gan"])


def said(exact: tuple[Baseline, dict]) -> list[str]:
    return complaints("dirac_gan", *exact, KEYS)


def test_changed_results_are_found(exact: tuple[Baseline, dict]) -> None:
    _, result = exact
    assert said(exact) == []
    for at, key, value in (
        (result, "config_sha256", "0" * 16),
        (result, "name", "linear_vae"),
        (result, "budget", "smoke"),
        (result, "commit", "276b850+"),
        (result, "seeds", [0, 1]),
        (result["claims"][0], "value", 1.0),
        (result["claims"][0], "verdict", "differs"),
        (result["claims"][0], "margin", [0.0, 1.0]),
        (result["claims"][0]["spread"], "mean", 0.5),
        (result["measured"]["none:eigenvalues off by"], "0", 0.5),
        (result["protocol"], "settings.gammas", [1.0]),
    ):
        before, at[key] = at[key], value
        assert said(exact), key
        at[key] = before
    assert said(exact) == []


def test_changed_baselines_are_found(exact: tuple[Baseline, dict]) -> None:
    found, result = exact
    for change, words in (
        ({"key": "nobody1999"}, "references.bib lacks"),
        ({"trust": "sure"}, "means nothing"),
        ({"trust": "unverified"}, "must be 'not comparable'"),
        ({"protocol": {"settings.gammas": (7.0,)}}, "must be 'not comparable'"),
        ({"value": 3.0}, "must be 3.0"),
    ):
        changed = (found.claims[0]._replace(**change), *found.claims[1:])
        wrong = said((found._replace(claims=changed), result))
        assert any(words in line for line in wrong), change
    other = Exact(lambda budget: {"gammas": (5.0,)}, found.recipe.compute)
    assert any("config" in line for line in said((found._replace(recipe=other), result)))


def test_no_table_is_written_from_files_that_are_not_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / store.FOLDER
    shutil.copytree(FOLDER, here, ignore=shutil.ignore_patterns("__pycache__"))
    page = tmp_path / "page.md"
    empty = f"{table.BEGIN}\nold\n{table.END}"
    page.write_text(empty)
    monkeypatch.chdir(tmp_path)
    file = here / store.RESULTS / "dirac_gan.json"
    sound = file.read_text()
    changed = json.loads(sound)
    changed["claims"][0]["verdict"] = "differs"
    for text, name, words in (
        (json.dumps(changed), "dirac_gan", "verdict is 'differs', must be 'reproduced'"),
        (sound, "nobody", "nobody: a result without a baseline"),
    ):
        other = file.with_stem(name)
        other.write_text(text)
        with pytest.raises(BadInput, match="the ledger is not sound") as refused:
            reproduce.write_ledger(page)
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
        assert page.read_text() == empty
        other.unlink()
        file.write_text(sound)
    reproduce.write_ledger(page)
    assert capsys.readouterr().out == f"{page}\n"
    assert table.differences(page.read_text(), table.render(BASELINES, RESULTS)) == []


def test_a_result_is_held_against_changed_claims_without_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / store.FOLDER / store.RESULTS / "dirac_gan.json"
    shutil.copytree(FOLDER, tmp_path / store.FOLDER)
    monkeypatch.chdir(tmp_path)
    sound, found = file.read_text(), BASELINES["dirac_gan"]
    file.write_text(sound.replace('"reproduced"', '"differs"'))
    reproduce.recount("dirac_gan", found)
    assert file.read_text() == sound
    stricter = found.claims[0]._replace(trust="unverified")
    reproduce.recount("dirac_gan", found._replace(claims=(stricter,)))
    assert [claim["verdict"] for claim in store.read(file)["claims"]] == ["not comparable"]
    assert "not comparable (the claimed number is unverified)" in capsys.readouterr().out
    before = file.read_text()
    other = Exact(lambda budget: {"gammas": (5.0,)}, found.recipe.compute)
    with pytest.raises(BadInput, match="the result's config is"):
        reproduce.recount("dirac_gan", found._replace(recipe=other))
    assert file.read_text() == before


def test_a_changed_cell_of_the_page_is_found() -> None:
    made = table.render(BASELINES, RESULTS)
    page = table.placed(f"before\n{table.BEGIN}\nold\n{table.END}\nafter", made)
    assert page.startswith("before\n")
    assert page.endswith("\nafter")
    assert table.differences(page, made) == []
    for old, new in ((table.NOT_RUN, "-126.73"), ("reproduced", "differs"), ("(seen)", "(exact)")):
        assert old in made
        wrong = table.differences(page.replace(old, new, 1), made)
        assert len(wrong) == 1
        assert repr(old)[1:-1] in wrong[0]
    shorter = page.replace(made.splitlines()[-1] + "\n", "")
    assert "lines in the page" in table.differences(shorter, made)[0]
    with pytest.raises(BadInput, match="once each"):
        table.differences("no comment", made)


def test_smoke_makes_no_result_and_a_larger_one_stays(
    tmp_path: Path, exact: tuple[Baseline, dict]
) -> None:
    _, result = exact
    with pytest.raises(BadInput, match="makes no result"):
        store.keep(tmp_path, result | {"budget": "smoke"})
    assert not list(tmp_path.iterdir())
    store.keep(tmp_path, result | {"seeds": [0, 1]})
    with pytest.raises(BadInput, match="holds a result of 2 seeds, --seeds=1 would leave some out"):
        store.keep(tmp_path, result)
    assert store.results(tmp_path)["dirac_gan"]["seeds"] == [0, 1]
    store.keep(tmp_path, result | {"budget": "paper"})
    with pytest.raises(BadInput, match="holds a result at budget 'paper'"):
        store.keep(tmp_path, result)
    assert store.results(tmp_path)["dirac_gan"]["budget"] == "paper"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("\x00\xff", "cannot be read"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "holds no result, but list"),
        ("{}", "the result lacks name"),
        ({"cpu_seconds": None}, "cpu_seconds is None"),
        ({"claims": {}}, "claims is {}"),
        ({"claims": [1]}, "a claim is none"),
        ({"measured": {"a:b/c": 1.0}}, "measured 'a:b/c' is 1.0"),
        ({"measured": {"a:b/c": {"0": "nan"}}}, "measured 'a:b/c'"),
    ],
)
def test_what_is_no_result_is_named_in_one_line(
    tmp_path: Path, exact: tuple[Baseline, dict], text: str | dict, words: str
) -> None:
    (tmp_path / store.RESULTS).mkdir()
    file = tmp_path / store.RESULTS / "dirac_gan.json"
    file.write_text(text if isinstance(text, str) else json.dumps(exact[1] | text))
    with pytest.raises(BadInput) as refused:
        store.results(tmp_path)
    assert str(refused.value).startswith(repr(str(file)))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def as_kept(settings: dict, seed: int) -> dict[str, float]:
    """The stored values of the Dirac-GAN's row."""
    return {of: each[str(seed)] for of, each in RESULTS["dirac_gan"]["measured"].items()}


@pytest.mark.parametrize(
    "compute",
    [as_kept, pytest.param(BASELINES["dirac_gan"].recipe.compute, marks=pytest.mark.long)],
    ids=["as kept", "computed"],
)
def test_an_exact_row_comes_back(
    tmp_path: Path, exact: tuple[Baseline, dict], compute: Callable[[dict, int], dict]
) -> None:
    found, kept = exact
    found = found._replace(recipe=found.recipe._replace(compute=compute))
    again = running.result(
        "dirac_gan", found, kept["budget"], len(kept["seeds"]), tmp_path, running.How()
    )
    store.keep(tmp_path, again | {"commit": kept["commit"]})  # today's may be none yet
    read = store.results(tmp_path)["dirac_gan"]
    assert complaints("dirac_gan", found, read, KEYS) == []
    assert read["config_sha256"] == kept["config_sha256"]
    for new, old in zip(read["claims"], kept["claims"], strict=True):
        assert new["verdict"] == old["verdict"] == "reproduced"
        assert new["values"] == pytest.approx(old["values"], abs=1e-12)


def small() -> Baseline:
    """PacGAN's row on the ring with one arm and small networks."""
    found = BASELINES["pacgan_ring"]

    def config(budget: str) -> ConfigDict:
        made = found.recipe.config(budget)
        made.generator.hidden = made.discriminator.hidden = (8,)
        return made

    recipe = found.recipe._replace(config=config, arms={"gan": found.recipe.arms["gan"]})
    claims = [claim for claim in found.claims if claim.of.startswith("gan:")]
    return found._replace(recipe=recipe, claims=tuple(c for c in claims if " - " not in c.of))


def test_a_trained_row_is_trained_and_measured_once_and_says_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = []

    def exit_code(command: Sequence[str], stopped: object) -> int:
        python, module, command, *flags = command
        assert (python, module, command) == (sys.executable, "-m", "latentgen.evaluate")
        measured.append(flags)
        return commands.run("evaluate", *flags).returncode

    def result() -> dict:
        how = running.How(engine="vmap")
        return running.result("pacgan_ring", small(), "smoke", 1, tmp_path, how)

    monkeypatch.setattr(measuring, "_exit_code", exit_code)
    first = result()
    assert "1 runs, 1 to train: vmap" in capsys.readouterr().err
    assert (first["not_done"], first["waiting"], len(measured)) == ([], 0, 1)
    assert 0 <= first["measured"]["gan:modes/captured"]["0"] <= 8
    cost = (tmp_path / costs.SPENT).read_text()
    assert len(cost.splitlines()) == 2  # trained, then measured
    assert all(result()[key] == first[key] for key in ("measured", "protocol", "claims"))
    assert (len(measured), (tmp_path / costs.SPENT).read_text()) == (1, cost)
    reproduce.print_claims(small(), first)
    said = capsys.readouterr().out
    assert "gan:modes/captured" in said
    assert "a smoke run says nothing of it" in said
    assert "reproduced" not in said


@pytest.mark.long
def test_a_trained_row_runs_through_the_command_and_says_no_verdict(tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in (FOLDER / store.RESULTS).iterdir()}
    flags = ["pacgan_ring", "--budget=smoke", f"--workdir={tmp_path}", "--engine=vmap"]
    done = commands.run("reproduce", *flags)
    assert done.returncode == 0, done.stderr
    assert "pacgan2:modes/captured - gan:modes/captured" in done.stdout
    assert "a smoke run says nothing of it" in done.stdout
    assert "reproduced" not in done.stdout
    assert {file: file.read_bytes() for file in (FOLDER / store.RESULTS).iterdir()} == before
    cost = (tmp_path / costs.SPENT).read_text()
    assert len(cost.splitlines()) == 3  # trained together, measured one by one
    again = commands.run("reproduce", *flags)  # measured already: nothing is done twice
    assert again.returncode == 0, again.stderr
    assert "2 runs, 0 to train" not in again.stderr
    assert "modes" not in again.stderr
    assert (tmp_path / costs.SPENT).read_text() == cost
    assert again.stdout.splitlines()[:-1] == done.stdout.splitlines()[:-1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["pacgan_rings"], "did you mean 'pacgan_ring'?"),
        ([], "NAME is missing"),
        (["pacgan_ring", "--budget=all"], "--budget='all' is unknown"),
        (["pacgan_ring", "--engine=spark"], "--engine='spark' is unknown"),
        (["uivi_fashion", "--budget=cpu"], "holds a result at budget 'paper'"),
        (["lucic_dragan", "--budget=paper"], "--inception_weights is missing"),
        (["wu_order", "--recount"], "wu_order.json' to recount"),
    ],
)
def test_bad_input_is_one_line(flags: list[str], words: str) -> None:
    done = commands.run("reproduce", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_to_cite_is_printed() -> None:
    done = commands.run("reproduce", "linear_vae", "--cite")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("@") == 2
    assert "arXiv:1911.02469" in done.stdout


def made_up(name: str, budget: str, measured: dict, protocol: dict) -> dict:
    """A result as `running.result` would have it."""
    seeds = len(next(iter(measured.values())))
    return {
        "name": name,
        "budget": budget,
        "command": f"python -m latentgen.reproduce {name}",
        "commit": None,
        "config_sha256": store.config_hash(BASELINES[name], budget),
        "cpu_seconds": 60.0,
        "seeds": list(range(seeds)),
        "not_done": [],
        "measured": measured,
        "protocol": protocol,
        "claims": claims(BASELINES[name], budget, measured, protocol, seeds),
    }


def test_of_a_trained_row_only_what_has_the_claims_protocol_is_compared() -> None:
    per_arm = {
        "gan": {"captured": 5 * (6.0, 7.0), "reverse_kl": 5 * (0.44, 0.46)},
        "pacgan2": {"captured": 10 * (8.0,), "reverse_kl": 10 * (0.07,)},
    }
    measured = {
        f"{arm}:modes/{what}": {str(seed): value for seed, value in enumerate(values)}
        for arm, found in per_arm.items()
        for what, values in found.items()
    }
    said = "3 standard deviations"
    protocol = {
        "data.name": "ring",
        "modes.split": "test",
        "modes.synthetic": 2_500,
        "modes.high_quality_within": said,
    }
    quarter = made_up("pacgan_ring", "cpu", measured, protocol)
    assert [c["verdict"] for c in quarter["claims"]] == ["reproduced"] + 4 * ["not comparable"]
    full = made_up("pacgan_ring", "paper", measured, protocol)
    assert [c["verdict"] for c in full["claims"]] == ["reproduced"] * 5
    for result in (quarter, full):
        assert complaints("pacgan_ring", BASELINES["pacgan_ring"], result, KEYS) == []
        other = result | {"protocol": protocol | {"modes.synthetic": 100}}
        wrong = complaints("pacgan_ring", BASELINES["pacgan_ring"], other, KEYS)
        assert any("must be 'not comparable'" in line for line in wrong)


def test_the_very_number_is_not_reproduced_while_nobody_has_read_it() -> None:
    claim = BASELINES["uivi_fashion"].claims[0]
    measured = {claim.of: {"0": claim.value, "1": claim.value + 0.01, "2": claim.value - 0.01}}
    result = made_up("uivi_fashion", "paper", measured, dict(claim.protocol))
    assert result["claims"][0]["verdict"] == "not comparable"
    made = table.render(BASELINES, RESULTS | {"uivi_fashion": result})
    (row,) = [line for line in made.splitlines() if "`uivi_fashion`" in line]
    assert "not comparable: the claimed number is unverified" in row
    assert "reproduced" not in row
