"""Programs with the names of their latents."""

from __future__ import annotations

import pytest
import torch

from tests.support.programs import conditional, two_latents
from tests.support.small import small_vae

ATTRIBUTES = torch.linspace(-1, 1, 10).reshape(5, 2)
MAKERS = {
    "vae": (small_vae, {}, ["z[0]", "z[1]", "z[2]", "z[3]"]),
    "two latents": (two_latents, {}, ["z1[0]", "z1[1]", "z1[2]", "z2[0]", "z2[1]"]),
    "conditional": (
        conditional,
        {"attributes": ATTRIBUTES},
        ["z[0]", "z[1]", "z[2]", "z[3]"],
    ),
}
every_program = pytest.mark.parametrize(
    ("make", "inputs", "names"), MAKERS.values(), ids=MAKERS.keys()
)
