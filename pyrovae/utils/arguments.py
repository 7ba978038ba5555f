"""Records the constructor arguments of objects, so that a configuration can rebuild them."""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pyrovae.utils.errors import InputError

__all__ = ["Recorded", "Writer", "import_path", "remade"]

_NAME = "_constructor_arguments"
#: Classes of these packages store their arguments in attributes of the same names.
_FOREIGN = ("torch.nn.", "pyro.infer.")


class Recorded:
    """A base class of parts: each object records the arguments of its constructor.

    A copy has them too. Arguments that are objects are recorded by reference.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Wraps the constructor of a new subclass to record its arguments."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _recording(vars(cls)["__init__"])  # type: ignore[method-assign]


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        # The constructor of the class itself runs first; base constructors must not overwrite it.
        if self.__dict__.setdefault(_NAME, given := (args, kwargs)) is given:
            try:
                bound = signature.bind(self, *args, **kwargs)
            except TypeError as error:  # Python would name the class that defines it.
                raise TypeError(f"{type(self).__name__}: {error}") from None
            if any(isinstance(value, str | type) for value in bound.arguments.values()):
                _check_arguments(self, init, bound.arguments)
        init(self, *args, **kwargs)

    return recording


def _check_arguments(part: object, init: Callable[..., None], given: Mapping[str, Any]) -> None:
    """Raises `TypeError` for a text in place of a number, or a class in place of an object."""
    try:
        hints = get_type_hints(init)
    except Exception:  # An annotation may name a class that only type checkers import.
        return
    for name, value in given.items():
        hint = hints.get(name)
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        where = f"{type(part).__name__}: {name} must be"
        if isinstance(value, str) and {*kinds} <= {int, float, NoneType}:
            number = "a number" if float in kinds else "an integer"
            raise TypeError(f"{where} {number}, got the text {value!r}")
        if isinstance(value, type) and all(_excludes_classes(kind) for kind in kinds):
            own = value.__name__
            raise TypeError(f"{where} an object, such as {own}(), got the class {own}")


def _excludes_classes(kind: Any) -> bool:
    """Whether a hint is a plain class of which no class is an instance."""
    if get_origin(kind) is not None:  # Python 3.10 counts `list[int]` among the types.
        return False
    plain = isinstance(kind, type) and not getattr(kind, "_is_protocol", False)
    return plain and kind not in (object, type) and not issubclass(type, kind)


def remade(part: Any, **changes: Callable[[Any], Any]) -> Any:
    """An object of the same class, made with the same arguments but for some.

    Args:
        part: the object, which is `Recorded`.
        **changes: functions from an argument to that of the new object.

    Raises:
        InputError: if the object does not record its arguments, or has no such argument.
    """
    given = Writer.given(part) if isinstance(part, Recorded) else {}
    for name in changes:
        if name not in given:
            kind = type(part).__name__
            raise InputError(f"{kind} has no argument {name}: derive it from Encoder or Decoder")
    return type(part)(**given | {name: change(given[name]) for name, change in changes.items()})


def import_path(made: type) -> str:
    """The shortest dotted path of a class; empty if another process could not import it."""
    name, parts = made.__qualname__, made.__module__.split(".")
    if parts == ["__main__"] or "." in name:
        return ""
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        if getattr(sys.modules.get(module), name, None) is made:
            return f"{module}.{name}"
    return ""


class Writer:
    """Converts objects to plain values in the format of `config.yaml`: `class_path`, `init_args`.

    Attributes:
        missing: one message per value that cannot be converted: its option and the reason.
    """

    def __init__(self) -> None:
        self.missing: list[str] = []

    def part(self, part: object, where: str, leave_out: Collection[str] = ()) -> Any:
        """The class and the arguments of an object, which must be `Recorded`.

        Args:
            part: the object.
            where: its option, for `missing`.
            leave_out: the arguments to leave out.
        """
        if not isinstance(part, Recorded):
            return self._give_up(where, f"{type(part).__name__} does not record its arguments")
        return self.value(part, where, leave_out)

    def value(self, value: Any, where: str, leave_out: Collection[str] = ()) -> Any:
        """The plain value of a number, text, list, class, object or `partial`."""
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
        """The recorded constructor arguments of an object, by name."""
        args, kwargs = vars(part).get(_NAME, ((), {}))
        return inspect.signature(type(part)).bind(*args, **kwargs).arguments

    def factory(self, value: Any, where: str, given_later: int = 1) -> Any:
        """The plain value of a factory: a class, or a `partial` of a class.

        Args:
            value: the class or `partial`.
            where: its option, for `missing`.
            given_later: the number of leading arguments that the caller of the factory supplies.
        """
        cls, args, given = _called(value)
        if not inspect.isclass(cls) or args:
            kind = "a partial with positional arguments" if args else _kind(cls)
            return self._give_up(where, f"{kind} cannot be named")
        parameters = list(inspect.signature(cls).parameters.values())[given_later:]
        return self._spec(cls, parameters, given, where, ())

    def _made(self, value: Any, where: str, leave_out: Collection[str]) -> Any:
        """The class and the arguments of an object, or of a factory called without arguments."""
        if inspect.isclass(value) or isinstance(value, functools.partial):
            return self.factory(value, where, 0)
        cls = type(value)
        known = isinstance(value, Recorded) or f"{cls.__module__}.".startswith(_FOREIGN)
        if inspect.isroutine(value) or not known:
            return self._give_up(where, f"{_kind(value)} cannot be written down")
        given = self.given(value) if isinstance(value, Recorded) else vars(value)
        return self._spec(cls, inspect.signature(cls).parameters.values(), given, where, leave_out)

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


def _called(value: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """What a factory calls, and the arguments that it gives."""
    if not isinstance(value, functools.partial):
        return value, (), {}
    *_, last = value.args or (None,)
    # The parser's own partials call a helper of it, whose last argument is the class.
    if f"{value.func.__module__}.".startswith("jsonargparse.") and inspect.isclass(last):
        return last, (), value.keywords
    return value.func, value.args, value.keywords


def _is_factory(cls: type, parameter: inspect.Parameter) -> bool:
    """Whether an argument is a factory with arguments, such as `Callable[[int], Flow]`."""
    try:
        annotation = inspect.signature(cls, eval_str=True).parameters[parameter.name].annotation
    except Exception:  # An annotation may name a class that only type checkers import.
        return False
    return get_origin(annotation) is Callable and bool(get_args(annotation)[0])


def _kind(value: object) -> str:
    """The name of a value for messages: its qualified name, its type, or "a lambda"."""
    name = str(getattr(value, "__qualname__", type(value).__name__))
    return "a lambda" if name.endswith("<lambda>") else name
