"""The keys that the schema knows: what a refused one was meant to be, and what each one means."""

import ast
import difflib
import inspect
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pipeline.config.schema import Config
from pipeline.config.section import Section

Types = list[Any]
"""What may stand at a place: sections, mappings, sequences, plain types; several in a union."""


def key_of(location: Sequence[str | int]) -> str:
    """The dotted key of a place as the validator names it, without the kinds of unions."""
    types, parts = [Config], []
    for part in location:
        if str(part).startswith("("):  # the tag of a union that has no key `kind`
            continue
        if len(_sections(types)) > 1 and (chosen := _of_kind(types, part)):
            types = chosen
        elif inside := _inside(types, part):
            parts.append(str(part))
            types = inside
        elif _names(types):
            parts.append(str(part))
            types = []
    return ".".join(parts)


def suggestion(key: str) -> str:
    """` (did you mean ...?)` for a key that is close to one of the schema, else nothing."""
    types, parts = [Config], key.split(".")
    for i, part in enumerate(parts):
        inside = _inside(types, part)
        if not inside:
            close = difflib.get_close_matches(part, _names(types), n=1)
            meant = [_as_far_as_known([*parts[:i], *close, *parts[i + 1 :]])] if close else []
            meant = meant or _elsewhere(parts[-1])
            return f" (did you mean {' or '.join(meant)}?)" if meant else ""
        types = inside
    return ""


def _as_far_as_known(parts: list[str]) -> str:
    types: Types = [Config]
    for i, part in enumerate(parts):
        types = _inside(types, part)
        if not types:
            return ".".join(parts[:i])
    return ".".join(parts)


def meaning(key: str) -> str:
    """The schema's words on a dotted key; empty where it has none."""
    types: Types = [Config]
    words = ""
    for part in key.split("."):
        owners = [
            o for s in _sections(types) for o in s.__mro__ if part in inspect.get_annotations(o)
        ]
        words = _texts(owners[0]).get(part, "") if owners else ""
        types = _inside(types, part)
    return words


@cache
def _texts(section: type) -> dict[str, str]:
    """Field -> the text that stands under it in the source of its section, on one line."""
    (definition,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for line, below in pairwise(definition.body):
        match line, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                texts[name] = " ".join(str(text).split())
            case _:
                pass
    return texts


def _elsewhere(name: str) -> list[str]:
    """Keys of other sections that end in `name`: the shallowest, three at most."""
    found = [key for key in _all_keys([Config]) if key.rpartition(".")[2] == name]
    least = min((key.count(".") for key in found), default=0)
    return [key for key in found if key.count(".") == least][:3]


def _all_keys(types: Types, before: str = "") -> Iterator[str]:
    for name in _names(types):
        yield before + name
        yield from _all_keys(_inside(types, name), f"{before}{name}.")


def _names(types: Types) -> list[str]:
    return list(dict.fromkeys(name for s in _sections(types) for name in s.model_fields))


def _sections(types: Types) -> list[type[Section]]:
    return [t for t in types if isinstance(t, type) and issubclass(t, Section)]


def _of_kind(types: Types, kind: str | int) -> Types:
    """The members of a union that its discriminator calls `kind`."""
    return [
        section
        for section in _sections(types)
        if (field := section.model_fields.get("kind")) and kind in get_args(field.annotation)
    ]


def _inside(types: Types, part: str | int) -> Types:
    """What may stand at the key or position `part` of these types."""
    found: Types = []
    for kind in types:
        origin, arguments = get_origin(kind), get_args(kind)
        if isinstance(kind, type) and issubclass(kind, Section):
            if part in kind.model_fields:
                found += _members(kind.model_fields[str(part)].annotation)
        elif origin is dict:
            found += _members(arguments[1])
        elif origin in (list, tuple) and str(part).isdecimal():
            found += _members(arguments[0])
    return found


def _members(annotation: Any) -> Types:
    """The types of a union, without what annotates them and without None."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _members(arguments[0])
    if origin in (Union, UnionType):
        return [t for a in arguments if a is not NoneType for t in _members(a)]
    return [annotation]
