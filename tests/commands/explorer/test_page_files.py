"""The files of the explorer's page: their colours, sizes and scripts."""

from __future__ import annotations

import re

from pyrovae.utils import palette
from tests.support.explorer_stand_in import PAGE


def test_the_colours_are_those_of_all_figures() -> None:
    style = (PAGE / "style.css").read_text()
    code = (PAGE / "colours.js").read_text().lower()
    light = dict(re.findall(r"--(\w+): (#\w{6})", style.split("@media")[0]))
    named = {"ink": "INK", "soft": "SOFT", "line": "GRID", "paper": "PAPER", "mark": "GUIDE"}
    named |= {"light": "GUIDE_LIGHT", "warn": "WARNING", "neutral": "NEUTRAL", "shown": "SHOWN"}
    for own, name in named.items():
        assert light[own] == getattr(palette, name), own
    assert all(f'"{colour}"' in code for colour in palette.CATEGORIES)


def test_the_page_has_no_inline_code_and_small_files() -> None:
    page = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|style=|<script(?![^>]*src)| on\w+=|https?:", page)
    for path in PAGE.iterdir():
        assert len(path.read_text().splitlines()) < 400, path
    loaded = re.findall(r'<script defer src="([\w.]+)"></script>', page)
    assert {*loaded} == {path.name for path in PAGE.glob("*.js")}
