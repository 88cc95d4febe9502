# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders Jinja2 templates within bounds: no files, no access to Python, a limited number of steps and of characters. Pure.

Steps are counted, not seconds, so that a template that fails does so always. Each turn of a loop and each call is a step; what could
make a long text in one step is counted or not offered.
"""

from __future__ import annotations

import functools
import re
import types
import typing as t

from ._libraries import ImmutableSandboxedEnvironment, jinja2, require_jinja2

MAX_SOURCE = 16_384  # characters of a template
MAX_OUTPUT = 65_536  # characters that a template may write
MAX_STEPS = 10_000
MOST_KEPT = 64  # compiled templates
MAX_SHOWN_CHARACTERS = 200  # of an error

FILTERS = (
    *(
        "abs",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "e",
        "escape",
        "first",
        "float",
        "groupby",
        "int",
        "items",
    ),
    *(
        "join",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "reverse",
        "round",
        "select",
    ),
    *("selectattr", "sort", "string", "striptags", "sum", "title", "tojson", "trim", "truncate", "unique", "upper"),
    *("urlencode", "wordcount"),
)
GLOBALS = ("range", "dict")
STRING_METHODS = {
    "endswith",
    "lower",
    "partition",
    "rpartition",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "title",
    "upper",
}
BOUNDED_OPERATORS = frozenset(("+", "*", "**", "%"))


class TemplateProblem(Exception):
    """A template cannot be used, in a part of a sentence."""


class _TooMuch(Exception):
    """A template went over a limit."""


def render_template(source: str, values: t.Mapping[str, t.Any], *, is_html: bool = False) -> str:
    """Return what a template makes of ``values``. Raises TemplateProblem, and MissingLibrary without Jinja2."""
    require_jinja2()
    if len(source) > MAX_SOURCE:
        raise TemplateProblem(f"it is longer than {MAX_SOURCE:,} characters")
    environment = _Environment(is_html)
    parts: list[str] = []
    length = 0
    try:
        code = _compiled(source, is_html)
        template = jinja2.Template.from_code(environment, code, environment.make_globals(None))
        for part in template.generate(**values):
            parts.append(part)
            length += len(part)
            if length > MAX_OUTPUT:
                raise _TooMuch(f"it writes more than {MAX_OUTPUT:,} characters")
    except jinja2.TemplateSyntaxError as error:
        raise TemplateProblem(f"line {error.lineno}: {_shown(error.message)}") from None
    except jinja2.TemplateError as error:
        raise TemplateProblem(_shown(error.message)) from None
    except RecursionError:
        raise TemplateProblem("its macros call each other without end") from None
    except _TooMuch as error:
        raise TemplateProblem(str(error)) from None
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise TemplateProblem(_shown(str(error))) from None
    return "".join(parts)


@functools.lru_cache(maxsize=MOST_KEPT)
def _compiled(source: str, is_html: bool) -> types.CodeType:
    """Return the code of a template, which any environment can run. To compile takes far longer than to render."""
    environment = _Environment(is_html)
    tree = environment.parse(source)
    _refuse_forbidden(tree)
    return t.cast("types.CodeType", environment.compile(_limited(tree)))


def _shown(message: str | None) -> str:
    text = " ".join((message or "unknown error").split()).rstrip(".")
    text = re.sub(r"'[\w.]+\.(\w+) object'", r"'\1'", text)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "…"


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that counts."""

    intercepted_binops = BOUNDED_OPERATORS

    def __init__(self, is_html: bool) -> None:
        super().__init__(
            loader=None,
            autoescape=is_html,
            undefined=jinja2.StrictUndefined,
            finalize=self._count_output,
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=0,
        )
        self.filters = {name: self.filters[name] for name in FILTERS}
        self.filters["_limited"] = self._count_turns
        self.filters["_concat"] = self._concatenate
        self.globals = {name: self.globals[name] for name in GLOBALS}
        self.globals["range"] = _range
        self._steps = 0
        self._written = 0

    def _count(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _TooMuch(f"it takes more than {MAX_STEPS:,} steps")

    def _count_turns(self, items: t.Iterable[t.Any]) -> t.Iterator[t.Any]:
        if isinstance(items, jinja2.Undefined):
            items._fail_with_undefined_error()  # a name that does not exist is an error, not an empty list
        for item in items:
            self._count()
            yield item

    def _count_output(self, value: t.Any) -> t.Any:
        if isinstance(value, jinja2.Undefined):
            return value
        self._written += len(str(value))
        if self._written > MAX_OUTPUT:
            raise _TooMuch(f"it writes more than {MAX_OUTPUT:,} characters")
        return value

    def _concatenate(self, values: t.Sequence[t.Any]) -> str:
        return _bounded("".join(map(str, values)))

    def call(self, context: t.Any, function: t.Any, *args: t.Any, **options: t.Any) -> t.Any:
        """Call what a template calls; a step."""
        self._count()
        if getattr(function, "__name__", "") in ("format", "format_map"):
            raise _TooMuch("format is not possible; use ~ and filters")
        return super().call(context, function, *args, **options)

    def call_binop(self, context: t.Any, operator: str, left: t.Any, right: t.Any) -> t.Any:
        """Apply an operator, to numbers of an ordinary size and, for a sum, to texts and lists."""
        is_number = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "+" and not is_number:
            return _bounded(left + right)
        if not is_number or operator == "**" or max(abs(left), abs(right)) > 1e15:
            raise _TooMuch(f"{operator} is for ordinary numbers only")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: t.Any) -> None:
        """Offer no format: it can make a long text of a short one."""
        return

    def is_safe_attribute(self, obj: t.Any, attr: str, value: t.Any) -> bool:
        """Allow data, and methods of texts and dictionaries that make nothing long."""
        if isinstance(obj, str):
            return attr in STRING_METHODS
        if isinstance(obj, dict):
            return attr in ("get", "items", "keys", "values")
        return bool(super().is_safe_attribute(obj, attr, value)) and not callable(value)


def _range(*limits: int) -> range:
    found = range(*limits)
    if len(found) > MAX_STEPS:
        raise _TooMuch(f"range has more than {MAX_STEPS:,} numbers")
    return found


Sized = t.TypeVar("Sized", bound=t.Sized)


def _bounded(value: Sized) -> Sized:
    if len(value) > MAX_OUTPUT:
        raise _TooMuch(f"it makes a value longer than {MAX_OUTPUT:,}")
    return value


def _refuse_forbidden(tree: t.Any) -> None:
    """Refuse what reads files, and loops whose turns cannot be counted."""
    nodes = jinja2.nodes
    if tree.find((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)) is not None:
        raise TemplateProblem("it includes, imports or extends another template, which is not possible")
    if any(loop.recursive for loop in tree.find_all(nodes.For)):
        raise TemplateProblem("recursive loops are not possible")


def _limited(tree: t.Any) -> t.Any:
    """Return the template with its loops counted and its concatenations bounded."""
    nodes = jinja2.nodes
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = _filtered(loop.iter, "_limited")
    for parent in list(tree.find_all(nodes.Node)):
        for name, value in list(parent.iter_fields()):
            if isinstance(value, nodes.Concat):
                setattr(parent, name, _filtered(nodes.List(value.nodes), "_concat"))
            elif isinstance(value, list):
                value[:] = [
                    _filtered(nodes.List(one.nodes), "_concat") if isinstance(one, nodes.Concat) else one
                    for one in value
                ]
    return tree


def _filtered(node: t.Any, name: str) -> t.Any:
    return jinja2.nodes.Filter(node, name, [], [], None, None, lineno=getattr(node, "lineno", 1)).set_lineno(1)
