"""Numbers that are not finite: the message says what is allowed."""

from __future__ import annotations

import pytest

from pyrovae.config.options import parse_training, train_parser
from pyrovae.utils.errors import InputError


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", ".inf", "-.NaN", "1e999"])
@pytest.mark.parametrize(
    "line",
    [
        "--likelihood.initial_scale",
        "--likelihood=Masked --likelihood.likelihood=Normal --likelihood.likelihood.scale",
        "--trainer.clip_norm",
        "--trainer.ema",
        "--beta.value",
        "--schedule=Warmup --schedule.fraction",
        "--optimizer.lr",
    ],
)
def test_a_number_that_is_not_finite_is_refused_as_such(
    line: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = f"{line}={value}".split()
    monkeypatch.setattr("sys.argv", ["pyrovae", *arguments])
    parser = train_parser()
    parser.exit_on_error = False
    with pytest.raises(InputError) as refused:
        parse_training(parser, arguments)
    assert str(refused.value) == f"{line.split()[-1]}: expected a finite number, got {value}"
