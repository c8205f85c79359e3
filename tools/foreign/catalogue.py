"""The programs of other libraries: what each is, as a function and arguments that it is run on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Made = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True)
class Program:
    """One program of a library.

    Attributes:
        package: the name of the distribution.
        name: what the program does.
        make: gives the function and its arguments.
        tolerances: `rtol` and `atol` in place of the dtypes' own, for what carries rounding from step to step.
        options: of `to_onnx`.
        known: why it does not agree, if that is understood and no defect of the export.
    """

    package: str
    name: str
    make: Callable[..., Made]
    tolerances: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    known: str = ""


PROGRAMS: list[Program] = []


def program(
    library: str, name: str, *, known: str = "", options: dict[str, Any] | None = None, **tolerances: float
) -> Any:
    """Register a function that makes a program."""

    def register(make: Callable[..., Made]) -> Callable[..., Made]:
        PROGRAMS.append(Program(library, name, make, tolerances, options or {}, known))
        return make

    return register
