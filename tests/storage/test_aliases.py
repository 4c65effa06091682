"""Former names in configs."""

import pytest

from latentgen.core.errors import BadInput
from latentgen.storage import aliases

OLD = {
    "seed": 0,
    "method": {"game": "hinge", "condition": "beside", "name": "gan"},
    "middle": {"init": "wide_end", "hidden": [3]},
    "optimizer": {"name": "rmsprop_outside", "schedule": "stairs"},
}
NEW = {
    "seed": 0,
    "method": {"loss": "hinge", "condition": "concat", "name": "gan"},
    "code_network": {"init": "titsias", "hidden": [3]},
    "optimizer": {"name": "rmsprop_torch", "schedule": "staircase"},
}


def test_former_names_become_todays_and_back() -> None:
    assert aliases.current(OLD) == NEW
    assert aliases.current(NEW) == NEW
    assert aliases.former(NEW) == OLD


def test_hashes_do_not_see_names() -> None:
    assert aliases.text(OLD) == aliases.text(NEW)
    other = {**NEW, "method": {**NEW["method"], "loss": "minimax"}}
    assert aliases.text(other) != aliases.text(NEW)


def test_keys_with_dots_are_kept_whole() -> None:
    arms = {"arms": {"packed": {"method.packing": 2}}}
    assert aliases.current(arms) == arms


@pytest.mark.parametrize(
    ("key", "now"),
    [
        ("method.game", "method.loss"),
        ("middle.hidden", "code_network.hidden"),
        ("middle", "code_network"),
        ("middles", "middles"),
        ("method.games", "method.games"),
    ],
)
def test_a_key_is_known_by_its_former_name(key: str, now: str) -> None:
    assert aliases.current_key(key) == now
    assert aliases.former_key(now) == key


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(BadInput, match=r"config\.method\.game is now config\.method\.loss"):
        aliases.current({"method": {"game": "hinge", "loss": "minimax"}})
