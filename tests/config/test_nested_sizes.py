"""Sizes that follow from other parts, in parts within parts."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import yaml

from pyrovae.config.building import instantiate
from pyrovae.config.options import parse_training, parts_parser, train_parser
from pyrovae.config.resuming import config_text
from pyrovae.data import ImageFolder
from pyrovae.likelihoods import AutoregressiveLogistic, Likelihood, Normal
from pyrovae.utils.errors import InputError

INNER = ["--likelihood.likelihood=AutoregressiveLogistic"]


class Wrapped(Normal):
    """A likelihood of a user that holds another one."""

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood


def parsed(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "argv", ["pyrovae", *arguments])
    parser = train_parser()
    parser.exit_on_error = False
    return parser, parse_training(parser, arguments)


@pytest.mark.parametrize("first", [[], ["--likelihood=AutoregressiveLogistic"]])
def test_masked_says_that_it_cannot_take_a_likelihood_of_dependent_pixels(
    first: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parser, config = parsed([*first, "--likelihood=Masked", *INNER], monkeypatch)
    with pytest.raises(InputError) as refused:
        instantiate(parser, config)
    assert str(refused.value) == (
        "--likelihood.likelihood: likelihood AutoregressiveLogistic: its pixels depend on each "
        "other, so none can be left out: Masked does not support it"
    )


@pytest.mark.slow
def test_a_part_within_a_part_gets_the_size_of_the_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = ["--data.image_size=32", f"--likelihood={__name__}.Wrapped", *INNER]
    parser, config = parsed(small, monkeypatch)
    text = config_text(parser, config)
    inner = instantiate(parser, config).program.likelihood.likelihood
    assert isinstance(inner, AutoregressiveLogistic)
    again = parts_parser(exit_on_error=False)
    stored = yaml.safe_load(text)
    names = ("data", "prior", "likelihood", "posterior", "encoder", "decoder", "program")
    opened = instantiate(again, again.parse_object({name: stored[name] for name in names}))
    found = opened.program.likelihood.likelihood
    assert [own.shape for own in found.parameters()] == [own.shape for own in inner.parameters()]


def test_the_size_of_a_part_within_a_part_cannot_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = "--likelihood.likelihood.image_shape"
    with pytest.raises(InputError, match=f"^{shape}: follows from --data, set that instead$"):
        parsed(["--likelihood=Masked", *INNER, f"{shape}=[3,64,64]"], monkeypatch)


@pytest.mark.slow
def test_a_missing_argument_is_named_with_the_last_class(monkeypatch: pytest.MonkeyPatch) -> None:
    line = [f"--data={ImageFolder.__name__}", "--data=SyntheticFaces", "--data=CelebA"]
    with pytest.raises(InputError, match="^--data.root: must be given$"):
        parsed(line, monkeypatch)
    line = [f"--likelihood={__name__}.Wrapped", "--likelihood.likelihood", f"{__name__}.Wrapped"]
    with pytest.raises(InputError, match="^--likelihood.likelihood.likelihood: must be given$"):
        parsed(line, monkeypatch)
