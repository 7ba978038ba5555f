"""Programs with one part replaced."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any, TypeVar

from pyrovae.priors import Prior
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.arguments import Writer
from pyrovae.utils.errors import InputError, check_kind

__all__ = ["with_prior"]

Pair = TypeVar("Pair", bound=ModelGuidePair)


def with_prior(programs: Pair, prior: Prior) -> Pair:
    """A copy of programs with another prior; the other parts keep their weights.

    Train the prior for the frozen other parts: it then learns the aggregate posterior, as with
    `pyrovae fit-prior`.

    Args:
        programs: the programs, such as a `VAE`, which do not change.
        prior: the new prior.

    Raises:
        InputError: if the programs were made without the argument `prior`, or the new prior has
            another number of latent dimensions.

    Example:
        >>> from pyrovae import *
        >>> data = SyntheticFaces(image_size=16, num_train=64, num_val=16, num_test=16)
        >>> vae = VAE.for_images(data, 4, encoder=MLPEncoder, decoder=MLPDecoder)
        >>> fitted = with_prior(vae, GaussianMixture(4, num_components=2))
        >>> others = [name for name in fitted.trained_parts() if name != "prior"]
        >>> history = Trainer(epochs=1).fit(fitted, data, Recipe(freeze=others))
        >>> old, new = vae.state_dict(), fitted.state_dict()
        >>> all(torch.equal(old[name], new[name]) for name in old if ".prior." not in name)
        True
    """
    check_kind("prior", prior, Prior)
    own = deepcopy(programs, {id(programs.data): programs.data})  # The images are not copied.
    given = _arguments(own)
    if not isinstance(old := given.get("prior"), Prior):
        name = type(own).__name__
        raise InputError(f"{name}: its constructor was called without the argument prior")
    if old.latent_dim != prior.latent_dim:
        raise InputError(
            f"prior: has {prior.latent_dim} latent dimensions, allowed is {old.latent_dim}"
        )
    places = tuple(f"{name}." for name, part in own.named_modules() if part is old)
    kept = {name: w for name, w in own.state_dict().items() if not name.startswith(places)}
    found = type(own)(**given | {"prior": prior}).to(own._like())
    found.load_state_dict(kept, strict=False)
    found.data, found.fitted = own.data, own.fitted
    return found.train(own.training)


def _arguments(programs: ModelGuidePair) -> dict[str, Any]:
    """The arguments of the constructor by name, those of `**kwargs` among them."""
    given = Writer.given(programs)
    for name, own in inspect.signature(type(programs)).parameters.items():
        if own.kind is own.VAR_KEYWORD:
            given |= given.pop(name, {})
    return given
