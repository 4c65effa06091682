"""The ledger's page: each claim with its figure, samples of runs that are there, all escaped."""

import json
import shutil
from pathlib import Path

import commands
import made_up
import pytest
from markup import EVIL, Reader

from latentgen.baselines import running, store, table
from latentgen.core.errors import BadInput
from latentgen.reporting import ledger
from latentgen.training import pictures

FOLDER = commands.ROOT / store.FOLDER
LEDGER = ledger.Ledger(store.every(FOLDER), store.results(FOLDER), store.entries(FOLDER))
NOWHERE = Path("nowhere")


def written(found: ledger.Ledger = LEDGER, runs: Path = NOWHERE) -> Reader:
    return Reader(ledger.page(found, runs, "the command"))


def only(name: str) -> ledger.Ledger:
    results = {name: LEDGER.results[name]} if name in LEDGER.results else {}
    return ledger.Ledger({name: LEDGER.baselines[name]}, results, LEDGER.entries)


def test_each_baseline_has_a_section_and_each_claim_with_values_a_figure() -> None:
    found = written()
    sections = [each["id"] for each in found.all("section")]
    assert sections == ["overview", *LEDGER.baselines]
    told = [str(each["aria-label"]) for each in found.all("svg")]
    held = [claim for each in LEDGER.results.values() for claim in each["claims"]]
    assert len(told) == len([claim for claim in held if claim["values"]]) > 0
    for baseline in LEDGER.baselines.values():
        assert all(line in found.text for line in baseline.recipe.deviations)
    for result in LEDGER.results.values():
        assert result["commit"] in found.text
        assert result["command"] in found.text


def test_a_figure_is_told_in_words_and_in_a_table() -> None:
    found = written(only("pacgan_ring"))
    told = [str(each["aria-label"]) for each in found.all("svg")]
    result = LEDGER.results["pacgan_ring"]
    for words, claim in zip(told, result["claims"], strict=True):
        assert words.startswith(f"{claim['of']}: ")
        assert claim["verdict"] in words
        apart = claim["interval"] == "Welch"  # two arms, each with seeds of its own
        values = claim["values"] if apart else {"": claim["values"]}
        for seed, value in (pair for arm in values.values() for pair in enumerate(arm)):
            assert f"seed {seed} {table.number(value)}" in words
            assert f"seed {seed} {ledger.typeset(table.number(value))} " in found.text
        for key in ("mean", "low", "high"):
            assert table.number(claim["spread"][key]) in words
    assert "@inproceedings{lin2018" in found.text


def test_what_has_no_result_is_not_yet_run_and_says_how_to() -> None:
    found = written(only("wu_order"))
    assert table.NOT_RUN in found.text
    assert "python -m latentgen.reproduce wu_order --budget cpu" in found.text
    assert found.all("svg") == found.all("img") == []


def test_one_seed_without_an_interval_and_a_lost_seed_are_shown() -> None:
    result = json.loads(json.dumps(LEDGER.results["pacgan_ring"]))
    of = "gan:modes/captured"
    del result["measured"][of]["1"]
    for claim in result["claims"]:
        claim["spread"] |= {"n": 1, "sd": None, "low": None, "high": None}
    result["not_done"] = ["gan, seed 1: failed, no reason"]
    found = written(only("pacgan_ring")._replace(results={"pacgan_ring": result}))
    assert "gan, seed 1: failed" in found.text
    assert "inconclusive; no interval" in found.text
    told = next(
        str(e["aria-label"]) for e in found.all("svg") if str(e["aria-label"]).startswith(of)
    )
    assert "seed 0 7, seed 2 6;" in told  # the third seed keeps its name


@pytest.mark.parametrize(
    ("name", "budget", "arms"),
    [("pacgan_ring", "cpu", ["gan", "pacgan2"]), ("uivi_fashion", "paper", ["theirs"])],
)
def test_samples_are_the_newest_of_each_arms_first_seed(
    tmp_path: Path, name: str, budget: str, arms: list[str]
) -> None:
    members = running.members(LEDGER.baselines[name].recipe, budget, 2)
    for (arm, seed), member in members.items():
        folder = tmp_path / f"{name}-{budget}" / "runs" / member.run / "samples"
        folder.mkdir(parents=True)
        for step in (0, 20 + seed):
            pictures.save_png(folder / f"step_{step:08}.png", made_up.digits(step + len(arm)))
    found = written(runs=tmp_path)
    alts = [str(each["alt"]) for each in found.all("img")]
    said = f"seed 0, budget {budget}, after step 20"
    assert alts == [f"Samples of {name}: {arm}, {said}" for arm in arms]
    assert all(str(each["src"]).startswith("data:image/webp;base64,") for each in found.all("img"))
    no_result = "the ledger holds no result of them yet" in found.text
    assert no_result == (name not in LEDGER.results)


def test_nothing_in_the_files_becomes_markup() -> None:
    found = only("pacgan_ring")
    baseline, result = found.baselines["pacgan_ring"], found.results["pacgan_ring"]
    claims = tuple(claim._replace(metric=EVIL, where=EVIL) for claim in baseline.claims)
    recipe = baseline.recipe._replace(deviations=(EVIL,))
    baseline = baseline._replace(title=EVIL, claims=claims, recipe=recipe)
    changed = {"command": EVIL, "commit": EVIL, "versions": {EVIL: EVIL}, "not_done": [EVIL]}
    entries = dict.fromkeys(LEDGER.entries, EVIL)
    read = written(
        ledger.Ledger({"pacgan_ring": baseline}, {"pacgan_ring": {**result, **changed}}, entries)
    )
    assert read.all("script") == read.all("img") == []
    assert read.text.count(EVIL) > 10
    assert all(name.startswith("on") is False for _, each in read.elements for name in each)


def test_only_a_sound_ledger_of_this_checkout_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / store.FOLDER
    shutil.copytree(FOLDER, here, ignore=shutil.ignore_patterns("__pycache__"))
    assert ledger.is_ledger(here)
    assert not ledger.is_ledger(here / store.RESULTS)
    monkeypatch.chdir(commands.ROOT)
    with pytest.raises(BadInput, match="from the root of the checkout"):
        ledger.read(here)
    monkeypatch.chdir(tmp_path)
    assert ledger.read(store.FOLDER).results == LEDGER.results
    file = here / store.RESULTS / "dirac_gan.json"
    file.write_text(file.read_text().replace('"reproduced"', '"differs"'))
    with pytest.raises(BadInput, match="the ledger is not sound"):
        ledger.read(here)


@pytest.mark.parametrize(
    ("text", "found"),
    [("-1e-06 to 1e-06", "\u22121e\u221206 to 1e\u221206"), ("7.9 +- 0.1", "7.9 \u00b1 0.1")],
)
def test_signs_are_set(text: str, found: str) -> None:
    assert ledger.typeset(text) == found
    assert ledger.typeset("Fashion-MNIST, VAE-10") == "Fashion-MNIST, VAE-10"


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    out = tmp_path / "new" / "ledger.html"
    done = commands.run("report", str(FOLDER), f"--out={out}", f"--runs={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "python -m latentgen.report" in out.read_text()
    assert done.stdout.startswith(str(out))
