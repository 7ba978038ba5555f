"""Names of other libraries are refused with their name here."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pyrovae.config.catalogue import entries
from pyrovae.config.elsewhere import HERE, NOWHERE, known_elsewhere
from pyrovae.config.messages import no_such_option, not_a_part
from pyrovae.config.options import train_parser
from pyrovae.config.roles import ROLES


@pytest.mark.parametrize("here", HERE)
def test_every_hint_names_what_exists(here: str) -> None:
    options = train_parser().format_help()
    pairs = re.findall(r"--([\w.]+)(?: ([A-Z]\w+))?", here)
    assert pairs
    for option, part in pairs:
        role, _, argument = option.partition(".")
        if part:
            assert part in [entry.name for entry in entries(ROLES[role])]
        else:
            assert f"--{option}" in options or argument in ("alpha", "lr")


def test_no_name_has_two_hints() -> None:
    names: list[Any] = [*" ".join(HERE.values()).split(), *NOWHERE.split()]
    assert len({*names}) == len(names)


def test_errors_have_the_hint() -> None:
    assert "'LVAE' (here: --program LadderVAE); known" in not_a_part("LVAE", "--program")
    assert "'WAE_MMD' (here: --objective MMD --o" in not_a_part("WAE_MMD", "--program")
    assert "(pyrovae does not have this model); known" in not_a_part("VQVAE", "--program")
    assert "(did you mean VAE?)" in not_a_part("VEA", "--program")
    found = no_such_option("--trainer.manual_seed", ["--trainer", "--trainer.seed"])
    assert found == "--trainer.manual_seed: no such option (here: --trainer.seed) (see --help)"
    assert known_elsewhere("--kld_weight") == " (here: --beta.value)"
