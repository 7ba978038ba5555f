"""What an object was made with, so that it can be written down and made again."""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, get_args, get_origin

__all__ = ["Recorded", "Writer", "import_path"]

_NAME = "_constructor_arguments"
#: Classes of these packages keep their arguments in attributes of the same names.
_FOREIGN = ("torch.nn.", "pyro.infer.")


class Recorded:
    """A base of parts: each object remembers the arguments of its constructor.

    A copy remembers them too. The objects among the arguments are the ones that were given.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Records what the constructor of a new class is called with."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _recording(vars(cls)["__init__"])  # type: ignore[method-assign]


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        # The constructor of the class itself comes first, then those that it calls.
        self.__dict__.setdefault(_NAME, (args, kwargs))
        init(self, *args, **kwargs)

    return recording


def import_path(made: type) -> str:
    """The shortest dotted path of a class; empty if no other process could import it."""
    name, parts = made.__qualname__, made.__module__.split(".")
    if parts == ["__main__"] or "." in name:
        return ""
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        if getattr(sys.modules.get(module), name, None) is made:
            return f"{module}.{name}"
    return ""


class Writer:
    """Turns objects into plain values: `class_path` and `init_args`, as the options are written.

    Attributes:
        missing: what cannot be written down, each with the reason.
    """

    def __init__(self) -> None:
        self.missing: list[str] = []

    def part(self, part: object, where: str, leave_out: Collection[str] = ()) -> Any:
        """The class and the arguments of an object that must have recorded them.

        Args:
            part: the object.
            where: its option, for `missing`.
            leave_out: arguments that are not written.
        """
        if not isinstance(part, Recorded):
            return self._give_up(where, f"{type(part).__name__} does not record its arguments")
        return self.value(part, where, leave_out)

    def value(self, value: Any, where: str, leave_out: Collection[str] = ()) -> Any:
        """A plain value for anything: numbers, texts, lists, classes, objects, `partial`s."""
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, numbers.Real):
            return int(value) if isinstance(value, numbers.Integral) else float(value)
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, list | tuple):
            return [self.value(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
        if isinstance(value, Mapping):
            return {str(name): self.value(own, f"{where}.{name}") for name, own in value.items()}
        return self._made(value, where, leave_out)

    @staticmethod
    def given(part: Recorded) -> dict[str, Any]:
        """The arguments that the constructor of an object was given, by name."""
        args, kwargs = vars(part).get(_NAME, ((), {}))
        return inspect.signature(type(part)).bind(*args, **kwargs).arguments

    def factory(self, value: Any, where: str, given_later: int = 1) -> Any:
        """As `value`, of what makes an object: a class, or a `partial` of one.

        Args:
            value: the class or `partial`.
            where: its option, for `missing`.
            given_later: how many arguments it gets, in front, when it makes an object.
        """
        cls, args, given = value, (), {}
        if isinstance(value, functools.partial):
            cls, args, given = value.func, value.args, value.keywords
        if not inspect.isclass(cls) or args:
            kind = "a partial with positional arguments" if args else _kind(cls)
            return self._give_up(where, f"{kind} cannot be named")
        parameters = list(inspect.signature(cls).parameters.values())[given_later:]
        return self._spec(cls, parameters, given, where, ())

    def _made(self, value: Any, where: str, leave_out: Collection[str]) -> Any:
        """The class and the arguments of an object, or of what makes one of no arguments."""
        if inspect.isclass(value) or isinstance(value, functools.partial):
            return self.factory(value, where, 0)
        cls = type(value)
        known = isinstance(value, Recorded) or f"{cls.__module__}.".startswith(_FOREIGN)
        if inspect.isroutine(value) or not known:
            return self._give_up(where, f"{_kind(value)} cannot be written down")
        signature = inspect.signature(cls)
        parameters = list(signature.parameters.values())
        if isinstance(value, Recorded):
            given = self.given(value)
        else:
            given = {
                name: own for name, own in vars(value).items() if name in signature.parameters
            }
        return self._spec(cls, parameters, given, where, leave_out)

    def _spec(
        self,
        cls: type,
        parameters: Iterable[inspect.Parameter],
        given: Mapping[str, Any],
        where: str,
        leave_out: Collection[str],
    ) -> Any:
        path = import_path(cls)
        if not path:
            return self._give_up(where, f"no other process can import {cls.__qualname__}")
        arguments: dict[str, Any] = {}
        for parameter in parameters:
            name = parameter.name
            if name in leave_out:
                continue
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                if given.get(name) or not issubclass(cls, Recorded):
                    self._give_up(where, f"{cls.__name__} takes any number of arguments")
            elif (value := given.get(name, parameter.default)) is parameter.empty:
                self._give_up(f"{where}.{name}", f"{cls.__name__} does not keep it")
            else:
                write = self.factory if _is_factory(cls, parameter) else self.value
                arguments[name] = write(value, f"{where}.{name}")
        return {"class_path": path} | ({"init_args": arguments} if arguments else {})

    def _give_up(self, where: str, reason: str) -> None:
        self.missing.append(f"{where}: {reason}")


def _is_factory(cls: type, parameter: inspect.Parameter) -> bool:
    """Whether an argument makes an object of something, as in `Callable[[int], Flow]`."""
    try:
        annotation = inspect.signature(cls, eval_str=True).parameters[parameter.name].annotation
    except Exception:  # An annotation may name what was imported for a type checker only.
        return False
    return get_origin(annotation) is Callable and bool(get_args(annotation)[0])


def _kind(value: object) -> str:
    """What a value is, in words."""
    name = str(getattr(value, "__qualname__", type(value).__name__))
    return "a lambda" if name.endswith("<lambda>") else name
