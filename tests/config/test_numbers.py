"""Numbers that are not finite: the message says what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrovae.config.options import parse_training, train_parser
from pyrovae.utils.errors import InputError


def parsed(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pyrovae", *arguments])
    parser = train_parser()
    parser.exit_on_error = False
    parse_training(parser, arguments)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", ".inf", ".NaN", "1e999"])
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
    with pytest.raises(InputError) as refused:
        parsed(arguments, monkeypatch)
    got = {".inf": "inf", "1e999": "inf", ".NaN": "nan"}.get(value, value)
    assert str(refused.value) == f"{line.split()[-1]}: expected a finite number, got {got}"


@pytest.mark.parametrize(
    "line",
    [
        ["--beta={value: .inf}"],
        ["--beta.value=.5e999"],
        ["--optimizer=Adam", "--optimizer.betas=[.nan, 0.9]"],
        ["--config=FILE"],
    ],
)
def test_numbers_inside_values_and_files_are_finite(
    line: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optimizer: {class_path: torch.optim.Adam, init_args: {lr: .inf}}\n")
    with pytest.raises(InputError, match="expected a finite number, got (inf|nan)"):
        parsed([word.replace("FILE", str(file)) for word in line], monkeypatch)


@pytest.mark.parametrize("value", ["inf", ".inf"])
def test_infinity_is_allowed_where_it_is_the_default(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed([f"--objective.max_plate_nesting={value}"], monkeypatch)


def test_a_text_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed(["--data=ImageFolder", "--data.root=.inf"], monkeypatch)
