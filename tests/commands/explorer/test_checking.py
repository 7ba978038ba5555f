"""Wrong questions: each is refused in one line that says what is allowed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pyrovae import InputError
from pyrovae.commands.explorer.answers import ANSWERS
from pyrovae.commands.explorer.opening import Explorer
from tests.support.explorers import explorer
from tests.support.programs import conditional

Z = [0.0, 0.0, 0.0, 0.0]
NUMBER = "allowed is a number from -10000 to 10000, got"


@pytest.fixture(scope="module")
def own() -> Explorer:
    return explorer(conditional(), 30)


@pytest.mark.parametrize(
    ("question", "given", "message"),
    [
        ("decode", {}, "z: allowed are lists of 4 numbers, got nothing"),
        ("decode", {"z": "0"}, "z: allowed are lists of 4 numbers, got '0'"),
        ("decode", {"z": {}}, "z: allowed are lists of 4 numbers, got an object"),
        ("decode", {"z": []}, "z: allowed are 1 to 64 lists of 4 numbers, got 0"),
        ("decode", {"z": [Z] * 65}, "z: allowed are 1 to 64 lists of 4 numbers, got 65"),
        ("decode", {"z": Z}, "z: allowed is a list of 4 numbers, got 0.0"),
        ("decode", {"z": [[0.0] * 3]}, "z: allowed are 4 numbers, got 3"),
        ("decode", {"z": [[0, 0, math.nan, 0]]}, f"z[2]: {NUMBER} nan"),
        ("decode", {"z": [[0, math.inf, 0, 0]]}, f"z[1]: {NUMBER} inf"),
        ("decode", {"z": [[1e30, 0, 0, 0]]}, f"z[0]: {NUMBER} 1e+30"),
        ("decode", {"z": [[10**400, 0, 0, 0]]}, f"z[0]: {NUMBER} a larger one"),
        ("decode", {"z": [[True, 0, 0, 0]]}, f"z[0]: {NUMBER} True"),
        ("decode", {"z": [["1", 0, 0, 0]]}, f"z[0]: {NUMBER} '1'"),
        ("decode", {"z": [[None, 0, 0, 0]]}, f"z[0]: {NUMBER} nothing"),
        ("decode", {"z": [[[], 0, 0, 0]]}, f"z[0]: {NUMBER} a list"),
        ("decode", {"z": [Z], "given": [1]}, "given: allowed are numbers by name, got a list"),
        (
            "decode",
            {"z": [Z], "given": {"skin_ton": 1}},
            "unknown given 'skin_ton' (did you mean skin_tone?); allowed are skin_tone, ",
        ),
        ("decode", {"z": [Z], "given": {"skin_tone": "1"}}, f"given skin_tone: {NUMBER} '1'"),
        ("decode", {"z": [Z], "name": 3}, "name: allowed is a text, got 3"),
        ("ground", {"method": "PCA"}, "places: allowed are lists of 2 numbers, got nothing"),
        ("ground", {"method": "PCA", "places": [[0]]}, "places: allowed are 2 numbers, got 1"),
        ("map", {}, "method: allowed is a text, got nothing"),
        ("map", {"method": "PAC"}, "unknown method 'PAC' (did you mean PCA?); allowed are PCA, "),
        ("colour", {"name": "rat"}, "unknown name 'rat' (did you mean rate?); allowed are rate, "),
        ("colour", {"name": "x" * 501}, f"name: allowed is a text, got '{'x' * 40}'"),
        ("image", {"name": "test"}, "'test': no such image; allowed are names such as test:12"),
        ("image", {"name": "../../etc/passwd"}, "'../../etc/passwd': no such image; allowed are"),
        ("image", {"name": "tset:1"}, "unknown split 'tset' (did you mean test?); allowed are"),
        ("image", {"name": "test:30"}, "test:30: allowed are the images 0 to 29 of test"),
        ("image", {"name": "test:-1"}, "'test:-1': no such image; allowed are names such as"),
        ("image", {"name": "train:1000000000000"}, "'train:1000000000000': no such image"),
        ("image", {"name": "upload:1"}, "upload:1: no such upload; the last 20 are kept"),
        ("image", {"name": "\n:\0"}, "'\\n:\\x00': no such image; allowed are names such as"),
        (
            "draws",
            {"name": "test:0", "count": 25},
            "count: allowed is a whole number from 1 to",
        ),
        ("draws", {"name": "test:0", "count": 1.5}, "count: allowed is a whole number from 1 to"),
        ("draws", {"name": "test:0", "seed": -1}, "seed: allowed is a whole number from 0 to"),
        ("thumbs", {"rows": [0], "size": 65}, "size: allowed is a whole number from 16 to 64"),
        ("thumbs", {"rows": [0] * 401}, "rows: allowed are 1 to 400 indices, got 401"),
        ("thumbs", {"rows": [30]}, "rows: allowed are indices 0 to 29, got 30"),
        ("thumbs", {"rows": [0.5]}, "rows: allowed are indices 0 to 29, got 0.5"),
        ("path", {"first": Z, "second": Z}, "kind: allowed is a text, got nothing"),
        (
            "path",
            {"first": Z, "second": Z, "kind": "straigth"},
            "unknown kind 'straigth' (did you mean straight?); allowed are straight, sphere",
        ),
        ("path", {"first": Z, "second": [0]}, "second: allowed are 4 numbers, got 1"),
        (
            "path",
            {"first": Z, "second": Z, "kind": "sphere", "steps": 17},
            "steps: allowed is a whole number from 2 to 16, got 17",
        ),
        ("nearest", {"z": Z, "count": 0}, "count: allowed is a whole number from 1 to 24, got 0"),
        ("upload", {}, "upload: allowed are the bytes of an image"),
        ("upload", {"bytes": "abc"}, "upload: allowed are the bytes of an image"),
    ],
)
def test_a_wrong_question_is_refused_in_one_line(
    own: Explorer, question: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        ANSWERS[question](own, given)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000
