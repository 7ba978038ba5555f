"""One self-contained HTML file of the page and its answers."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from typing import Any

from pyrovae.utils.plain import to_json

__all__ = ["bundle"]

STYLE = r'<link rel="stylesheet" href="([\w.-]+)">'
SCRIPT = r'<script defer src="([\w.-]+)"></script>'


def bundle(files: Mapping[str, bytes], answers: dict[str, Any]) -> str:
    """The page with its styles, scripts and answers inside.

    A policy in the file forbids it to load anything, and to run any other script.

    Args:
        files: the contents of the page's files by name.
        answers: what the page shows, as the element `answers`.
    """
    page = files["index.html"].decode()
    styles = [_closed(files[name].decode(), "style") for name in re.findall(STYLE, page)]
    scripts = [_closed(files[name].decode(), "script") for name in re.findall(SCRIPT, page)]
    policy = (
        f"default-src 'none'; img-src data: blob:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hashes(styles)}; script-src {_hashes(scripts)}"
    )
    # Scripts with `defer` run at the end, in order: so do these.
    page = re.sub(SCRIPT + r"\s*", "", page)
    rest = iter(styles)
    page = re.sub(STYLE, lambda _: f"<style>{next(rest)}</style>", page)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'
    page = page.replace("<head>", f"<head>\n{meta}", 1)
    data = to_json(answers).replace("<", "\\u003c")  # Nothing in it ends the element.
    inside = [f'<script type="application/json" id="answers">{data}</script>']
    inside += [f"<script>{script}</script>" for script in scripts]
    head, end, tail = page.rpartition("</body>")
    return "".join([head, "\n".join(inside), "\n", end, tail])


def _closed(text: str, element: str) -> str:
    """A text that cannot end its element."""
    return re.sub(f"</(?={element})", r"<\\/", text, flags=re.IGNORECASE)


def _hashes(texts: list[str]) -> str:
    """The sources of a policy that allows these texts alone."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests) or "'none'"
