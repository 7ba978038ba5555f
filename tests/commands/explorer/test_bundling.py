"""The page as one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from pyrovae.commands.explorer.bundling import bundle
from pyrovae.commands.explorer.files import KINDS, page_files

FILES = {
    "index.html": b"<html><head><title>t</title>"
    b'<link rel="stylesheet" href="style.css"></head><body><p>text</p>'
    b'<script defer src="first.js"></script>\n<script defer src="main.js"></script>\n'
    b"</body></html>",
    "style.css": b"p { color: red } /* </style> */",
    "first.js": b"const first = '</script><b>';",
    "main.js": b"console.log(first); // \xc3\xa9",
}


def scripts(page: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", page, re.S)


def test_all_files_are_inside_and_none_can_end_its_element() -> None:
    page = bundle(FILES, {})
    assert "src=" not in page and "href=" not in page
    assert scripts(page) == [r"const first = '<\/script><b>';", "console.log(first); // é"]
    assert re.findall("<style>(.*?)</style>", page) == [r"p { color: red } /* <\/style> */"]
    assert page.index("<p>text") < page.index('id="answers"') < page.index("const first")
    assert page.endswith("</body></html>")


def test_the_answers_end_no_element() -> None:
    given = {"name": "</script><script>alert(1)</script><!--", "values": [1.5, None]}
    page = bundle(FILES, given | {"score": float("nan")})
    (data,) = re.findall(r'<script type="application/json" id="answers">(.*?)</script>', page)
    assert "<" not in data and json.loads(data) == given | {"score": None}
    assert len(scripts(page)) == 2


def test_the_policy_allows_these_scripts_and_styles_alone() -> None:
    page = bundle(FILES, {})
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#x27;", "'").split("; "))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data: blob:"
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts(page)]
    assert rules["script-src"].split() == [
        f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests
    ]
    assert len(rules["style-src"].split()) == 1


def test_every_file_that_the_page_names_is_there() -> None:
    files = page_files()
    named = re.findall(r'(?:src|href)="([^"]*)"', files["index.html"].decode())
    local = [name for name in named if not name.startswith("data:")]
    assert set(local) == set(files) - {"index.html"}
    assert all(name.rpartition(".")[2] in KINDS for name in files)
    page = bundle(files, {})
    assert not re.search(r'(?:src|href)="(?!data:)', page)
