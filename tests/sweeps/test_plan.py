"""Members: their configs, their names, what is refused before anything starts."""

import pytest

from experiments import gan, vae
from latentgen.core.errors import BadInput
from latentgen.sweeps.engines import vmap
from latentgen.sweeps.plan import applied, members, shortened

LR = "config.generator_optimizer.lr"


def test_a_name_says_what_changes_and_follows_from_the_config() -> None:
    rows = [{LR: lr, "config.seed": seed} for lr in (1e-4, 3e-4) for seed in (0, 7)]
    found = members(gan.get_config(), rows)
    assert [m.run.rpartition("-")[0] for m in found] == [
        *["lr=0.0001,s=0", "lr=0.0001,s=7", "lr=0.0003,s=0", "lr=0.0003,s=7"]
    ]
    assert len({m.run for m in found}) == 4
    assert len({m.setting for m in found}) == 2  # drops the seed
    assert found == members(gan.get_config(), rows)
    assert found[0].run != members(gan.get_config("minimax"), rows)[0].run
    assert found[3].config["generator_optimizer"]["lr"] == 3e-4
    assert (found[3].config["seed"], found[3].changes) == (7, {LR.removeprefix("config."): 3e-4})
    base = members(gan.get_config(), [{}])[0].config
    for m in found:  # a folder keeps the changes alone
        assert applied(base, {**m.changes, "seed": m.seed}) == m.config


def test_long_names_keep_whole_words() -> None:
    row = {
        f"config.{player}_optimizer.{key}": 0.123456
        for player in ("generator", "discriminator")
        for key in ("lr", "b1", "b2")
    }
    (member,) = members(gan.get_config(), [row])
    words = member.run.split(",")
    assert words[:2] == ["generator_optimizer.lr=0.1235", "generator_optimizer.b1=0.1235"]
    assert words[-2] == "+4"
    assert len(member.run) < 120


def test_keys_are_spelled_as_short_as_they_can_be_told_apart() -> None:
    assert shortened(["a.lr", "b.lr", "b.size"]) == {
        "a.lr": "a.lr",
        "b.lr": "b.lr",
        "b.size": "size",
    }


def test_the_same_run_twice_is_one() -> None:
    assert len(members(gan.get_config(), [{LR: 1e-4}, {LR: 1e-4}, {LR: 2e-4}])) == 2


def test_a_schedule_takes_a_numbers_place_and_a_number_its() -> None:
    """Runs under a schedule are another program than those under a number."""
    text, base = "linear(1e-4, 0, images=1e6)", gan.get_config()
    rows = [{LR: lr, "config.seed": seed} for lr in (1e-4, 2e-4, text) for seed in (0, 1)]
    found = members(base, rows)
    assert [m.config["generator_optimizer"]["lr"] for m in found[::2]] == [1e-4, 2e-4, text]
    assert [len(group.members) for group in vmap.groups(found)] == [4, 2]
    with base.ignore_type():
        base.generator_optimizer.lr = text
    found = members(base, rows[:4])
    assert [m.config["generator_optimizer"]["lr"] for m in found[::2]] == [1e-4, 2e-4]
    (group,) = vmap.groups(found)
    assert group.keys == ("generator_optimizer.lr",)


def test_a_number_that_is_off_in_one_run_is_traced_in_the_others() -> None:
    """The config of a run leaves out a later key that changes nothing."""
    rows = [{"config.method.ema_images": value} for value in (5e3, 1e4, 0.0)]
    found = vmap.groups(members(gan.get_config("r3gan_loss"), rows))
    assert [(len(group.members), group.keys) for group in found] == [
        (2, ("method.ema_images",)),
        (1, ()),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"config.generator_optimizer.rl": 1.0}, "did you mean 'generator_optimizer.lr'"),
        (
            {"config.lr": 1.0},
            "config.lr is not a key of the config; did you mean '.*zer.lr'",
        ),
        ({"lr": 1.0}, "must begin with 'config.'"),
        ({"config.steps": 1.5}, "config.steps=1.5 must be of the kind int"),
        ({"config.generator.hidden": "wide"}, "must be of the kind tuple"),
        ({LR: -1.0}, "lr=-1.0 must be above 0"),
        ({"config.method.loss": "chess"}, "config.method.loss='chess' is unknown"),
        ({"config.every.log": 7}, "must be a multiple of"),
    ],
)
def test_a_run_that_is_none_is_refused_before_anything_starts(row: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        members(gan.get_config(), [{LR: 1e-4}, row])
    with pytest.raises(BadInput, match="the sweep is empty"):
        members(vae.get_config(), [])
