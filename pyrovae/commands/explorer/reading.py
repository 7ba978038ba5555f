"""Reading the body of a request, within limits."""

from __future__ import annotations

import json
import math
import re
from email.message import Message
from io import BufferedIOBase
from typing import Any

from pyrovae.commands.explorer.guard import Refused

__all__ = ["read_arguments", "taken_order"]

MEGABYTE = 1_000_000
#: The largest bodies, in bytes: of a request, and of an image.
BODY, IMAGE = 2 * MEGABYTE, 20 * MEGABYTE
#: Numbers that a float holds exactly.
LARGEST = 2**53
#: The name of the request whose body is an image.
UPLOAD = "upload"


def read_arguments(name: str, headers: Message, file: BufferedIOBase) -> dict[str, Any]:
    """Reads what a request asks for.

    Args:
        name: the name of the request.
        headers: its headers.
        file: its body.

    Raises:
        Refused: if the body has the wrong type or length, or is not a JSON object.
        ConnectionError: if the client ends the connection early.
    """
    kind = headers.get_content_type() if "Content-Type" in headers else ""
    image = kind.startswith("image/") or kind == "application/octet-stream"
    if name == UPLOAD and not image:
        raise Refused(415, "Content-Type: allowed are image/* and application/octet-stream")
    if name != UPLOAD and kind != "application/json":
        raise Refused(415, "Content-Type: allowed is application/json")
    body = _body(headers, file, IMAGE if name == UPLOAD else BODY)
    return {"bytes": body} if name == UPLOAD else _object(body)


def _body(headers: Message, file: BufferedIOBase, most: int) -> bytes:
    lengths = {str(length).strip() for length in headers.get_all("Content-Length", [])}
    if "Transfer-Encoding" in headers or not lengths:
        raise Refused(411, "the body needs a Content-Length, and no Transfer-Encoding")
    stated = lengths.pop()
    if lengths or not re.fullmatch("[0-9]{1,18}", stated, re.ASCII):
        raise Refused(400, "Content-Length: allowed is one number of bytes")
    if int(stated) > most:
        raise Refused(413, f"too large: {int(stated):,} bytes, allowed are {most:,}")
    body = file.read(int(stated))
    if len(body) < int(stated):
        raise ConnectionAbortedError
    return body


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            body.decode(), parse_int=_number, parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:100]
        raise Refused(400, f"the body is not JSON with finite numbers: {why}") from None
    if not isinstance(found, dict):
        raise Refused(400, f"the body must be a JSON object, got {type(found).__name__}")
    return found


def _number(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > LARGEST:
        raise ValueError(f"allowed are numbers up to 2**53, got {text[:20]}")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"allowed are finite numbers, got {text[:20]}")
    return number


def taken_order(given: dict[str, Any]) -> tuple[str, int | None]:
    """Takes `client` and `order` out of the arguments of a request.

    Raises:
        Refused: if they have the wrong type.
    """
    client, number = given.pop("client", ""), given.pop("order", None)
    if not isinstance(client, str) or len(client) > 64:
        raise Refused(400, "client: must be a text of at most 64 characters")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise Refused(400, "order: must be an integer")
    return client, number
