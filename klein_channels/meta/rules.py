"""
Shapes that a platform demands of JSON, and the first thing that is wrong with what is not so.

A shape says nothing of keys that it does not name: the platform may have learnt new ones. What is
wrong is told with its place, ``message.text: 2001 characters, at most 2000``, and never with the
words that stand there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..model import JSON
from ..text import Unit, measure


class Shape(Protocol):
    """Something that JSON can be held against."""

    def problem(self, value: JSON, place: str) -> str | None:
        """What is wrong with `value`, which stands at `place`; None if nothing is."""


@dataclass(frozen=True, slots=True)
class Words:
    """A text of `least` to `most` (0: any number of) units; perhaps one of a few, or like a pattern."""

    most: int = 0
    least: int = 1
    unit: Unit = "characters"
    among: tuple[str, ...] = ()
    like: str = ""
    described: str = ""
    """`like` in words."""

    def problem(self, value: JSON, place: str) -> str | None:
        """What is wrong with a text."""
        if not isinstance(value, str):
            return f"{place}: must be a text, not {_kind(value)}"
        length = measure(value, self.unit)
        if length < self.least:
            return (
                f"{place}: is empty" if not value else f"{place}: {length} {self.unit}, at least {self.least}"
            )
        if self.most and length > self.most:
            return f"{place}: {length} {self.unit}, at most {self.most}"
        if self.among and value not in self.among:
            return f"{place}: must be one of {', '.join(self.among)}"
        if self.like and not re.fullmatch(self.like, value):
            return f"{place}: must be {self.described or self.like}"
        return None


@dataclass(frozen=True, slots=True)
class Number:
    """A number, also one that is written as a text; within bounds if it has any."""

    least: float | None = None
    most: float | None = None

    def problem(self, value: JSON, place: str) -> str | None:
        """What is wrong with a number."""
        try:
            number = float("x" if isinstance(value, bool) else value)
        except (TypeError, ValueError, OverflowError):
            return f"{place}: must be a number, not {_kind(value)}"
        if self.least is not None and number < self.least:
            return f"{place}: is less than {self.least:g}"
        if self.most is not None and number > self.most:
            return f"{place}: is more than {self.most:g}"
        return None


@dataclass(frozen=True, slots=True)
class Anything:
    """Whatever it is; `removed` says why it may not be there at all."""

    removed: str = ""

    def problem(self, value: JSON, place: str) -> str | None:
        """Nothing, or that it is there."""
        return f"{place}: {self.removed}" if self.removed else None


@dataclass(frozen=True, slots=True)
class Several:
    """A list of `least` to `most` (0: any number of) things of one shape."""

    of: Shape
    most: int = 0
    least: int = 1

    def problem(self, value: JSON, place: str) -> str | None:
        """What is wrong with the list, or with the first thing in it that is wrong."""
        if not isinstance(value, list):
            return f"{place}: must be a list, not {_kind(value)}"
        if len(value) < self.least:
            return f"{place}: has {len(value)}, at least {self.least}"
        if self.most and len(value) > self.most:
            return f"{place}: has {len(value)}, at most {self.most}"
        problems = (self.of.problem(item, f"{place}[{number}]") for number, item in enumerate(value))
        return next((problem for problem in problems if problem), None)


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with keys that it must have and keys that it may have.

    At least one of `any_of` has to be there, and at most one of `one_of`.
    """

    required: Mapping[str, Shape] = field(default_factory=dict)
    optional: Mapping[str, Shape] = field(default_factory=dict)
    any_of: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()

    def problem(self, value: JSON, place: str) -> str | None:
        """The first thing that is wrong with the object."""
        return next(self._problems(value, place), None)

    def _problems(self, value: JSON, place: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{place}: must be an object, not {_kind(value)}"
            return
        there = {key for key, item in value.items() if item is not None}
        for key in self.required:
            if key not in there:
                yield f"{_at(place, key)}: is missing"
        if self.any_of and not there.intersection(self.any_of):
            yield f"{place}: has none of {', '.join(self.any_of)}"
        chosen = [key for key in self.one_of if key in there]
        if len(chosen) > 1:
            yield f"{place}: has {' and '.join(chosen)}, of which only one can be"
        for key, shape in {**self.required, **self.optional}.items():
            if key in there:
                problem = shape.problem(value[key], _at(place, key))
                if problem:
                    yield problem


@dataclass(frozen=True, slots=True)
class Kinds:
    """An object whose key `by` says which of several shapes it has."""

    by: str
    shapes: Mapping[str, Shape]

    def problem(self, value: JSON, place: str) -> str | None:
        """What is wrong with the object, or with its kind."""
        if not isinstance(value, dict):
            return f"{place}: must be an object, not {_kind(value)}"
        kind = value.get(self.by)
        if not isinstance(kind, str) or kind not in self.shapes:
            return f"{_at(place, self.by)}: must be one of {', '.join(self.shapes)}"
        return self.shapes[kind].problem(value, place)


def _at(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _kind(value: JSON) -> str:
    return "nothing" if value is None else type(value).__name__
