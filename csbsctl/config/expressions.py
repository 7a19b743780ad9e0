"""Jinja2 expressions in single values: sandboxed, strict, deterministic, bounded, with native types.

An expression sees the variables and nothing else. A value that is one ``{{ … }}`` gives the object itself (a whole
number stays one, text stays text whatever it looks like); anything around it makes text. Must not know where values stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes

MAX_SOURCE = 10_000
MAX_RESULT = 64 * 1024
MAX_LOOPS = 2
"""Depth of nested loops: with ranges of at most a thousand, a value costs at most a second."""
_MAX_RANGE = 1000
_MAX_EXPONENT = 64
_MAX_FACTOR = 2**63
_MAX_BITS = 4096

_STATEMENTS = frozenset({"Template", "Output", "TemplateData", "For", "If"})
_FILTERS = """
    abs capitalize count d default dictsort first float int items join last length list lower map max min reject
    rejectattr replace reverse round select selectattr sort string sum title trim unique upper
"""
_TEXT_METHODS = """
    lower upper strip lstrip rstrip split rsplit splitlines startswith endswith title capitalize
    removeprefix removesuffix isdigit isalpha isalnum find count
"""
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"index", "count"}),
    tuple: frozenset({"index", "count"}),
}


_FORMATTERS = ("format", "format_map")
"""Jinja2 lets these past its own checks; a field's width can make gigabytes."""


class ExpressionError(Exception):
    """An expression cannot be evaluated; the message is one line for people."""


def is_expression(text: str) -> bool:
    """Say whether a text holds an expression or statement."""
    return "{{" in text or "{%" in text


@lru_cache(maxsize=1024)
def variables_in(text: str) -> frozenset[str] | None:
    """Return the names of the variables a text uses; None when it may be any of them, as with a bare ``var``."""
    import jinja2  # noqa: PLC0415
    from jinja2 import nodes  # noqa: PLC0415

    try:
        tree = _environment().parse(text)
    except (jinja2.TemplateSyntaxError, RecursionError):
        return frozenset()  # evaluation says what is wrong with it
    names: set[str] = set()
    waiting: list[nodes.Node] = [tree]
    while waiting:
        match waiting.pop():
            case nodes.Getattr(node=nodes.Name(name="var"), attr=str(name)):
                names.add(name)
            case nodes.Getitem(node=nodes.Name(name="var"), arg=nodes.Const(value=str(name))):
                names.add(name)
            case nodes.Name(name="var"):
                return None
            case node:
                waiting += node.iter_child_nodes()
    return frozenset(names)


def evaluate(text: str, variables: Mapping[str, Any]) -> Any:
    """Return what a text with expressions means.

    Raises:
        ExpressionError: bad syntax, an unknown variable, something the sandbox forbids, or too much work.
    """
    import jinja2  # noqa: PLC0415 - most configurations have no expressions

    try:
        return _plain(_compiled(text)({"var": dict(variables)}))
    except jinja2.TemplateSyntaxError as error:
        raise ExpressionError(f"bad expression: {error.message}") from None
    except jinja2.UndefinedError as error:
        raise ExpressionError(_undefined(error, variables)) from None
    except jinja2.TemplateError as error:
        raise ExpressionError(str(error) or type(error).__name__) from None
    except RecursionError:
        raise ExpressionError("the expression is nested too deeply") from None
    except SyntaxError:  # Python's own limits on nesting, met by what Jinja2 compiles to
        raise ExpressionError("the expression is nested too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, MemoryError) as error:
        raise ExpressionError(f"the expression fails: {error or type(error).__name__}") from None


def _undefined(error: jinja2.UndefinedError, variables: Mapping[str, Any]) -> str:
    from csbsctl.diagnostics import did_you_mean  # noqa: PLC0415 - only on the way to an error

    message = str(error)
    prefix = "'dict object' has no attribute "
    if not message.startswith(prefix):
        return message + "; expressions see `var.NAME`" if "undefined" in message else message
    name = message.removeprefix(prefix).strip("'")
    close = did_you_mean(name, variables)
    return f"no variable {name!r} is declared" + (f"; {close}" if close else "")


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Callable[[dict[str, Any]], Any]:
    """Return a function from a context to the value; the same expressions recur by the thousand."""
    from jinja2 import nodes  # noqa: PLC0415
    from jinja2.environment import TemplateExpression  # noqa: PLC0415

    if len(text) > MAX_SOURCE:
        raise ExpressionError(f"the expression is longer than {MAX_SOURCE} characters")
    environment = _environment()
    tree = environment.parse(text)
    _check_statements(tree)
    match tree.body:
        case [nodes.Output(nodes=[nodes.Expr() as expression])] if not isinstance(
            expression, nodes.TemplateData
        ):
            body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)]
            template = environment.from_string(nodes.Template(body, lineno=1))
            return TemplateExpression(template, undefined_to_none=False)
    template = environment.from_string(tree)
    return lambda context: _joined(template.generate(context))


def _check_statements(tree: nodes.Template) -> None:
    from jinja2 import nodes  # noqa: PLC0415

    def walk(node: nodes.Node, loops: int) -> None:
        name = type(node).__name__
        if isinstance(node, nodes.Stmt) and name not in _STATEMENTS:
            raise ExpressionError(f"the statement {name.lower()!r} is not allowed; `if` and `for` are")
        loops += isinstance(node, nodes.For)
        if loops > MAX_LOOPS:
            raise ExpressionError(f"loops are nested more than {MAX_LOOPS} deep")
        for child in node.iter_child_nodes():
            walk(child, loops)

    walk(tree, 0)


def _joined(pieces: Iterable[str]) -> str:
    result, size = [], 0
    for piece in pieces:
        size += len(piece)
        _check_result(size)
        result.append(piece)
    return "".join(result)


def _check_result(size: int) -> None:
    if size > MAX_RESULT:
        raise ExpressionError(f"the result is longer than {MAX_RESULT} characters")


def _plain(value: Any) -> Any:
    """Return a result as JSON would have it.

    Raises:
        ExpressionError: it is undefined, too large or not data.
    """
    import jinja2  # noqa: PLC0415

    if isinstance(value, jinja2.Undefined):
        value._fail_with_undefined_error()  # noqa: SLF001 - the documented hook of Undefined's own subclasses
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            raise ExpressionError("the number is too large")
        return value
    if isinstance(value, str):
        _check_result(len(value))
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ExpressionError("the result is not valid Unicode")
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        _check_result(len(value))
        return [_plain(item) for item in value]
    raise ExpressionError("an expression must give text, a number, true, false, a list or a mapping")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Environment(ImmutableSandboxedEnvironment):
        """The sandbox, with methods and arithmetic by allow-list and names of mappings before their methods."""

        intercepted_binops = frozenset({"**", "*", "+", "%"})

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, dict) and attribute in obj:
                return obj[attribute]
            if isinstance(obj, str) and attribute in _FORMATTERS:
                return self.unsafe_undefined(obj, attribute)
            return super().getattr(obj, attribute)

        def getitem(self, obj: Any, argument: Any) -> Any:
            if isinstance(obj, str) and argument in _FORMATTERS:
                return self.unsafe_undefined(obj, argument)
            return super().getitem(obj, argument)

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            if isinstance(obj, jinja2.runtime.LoopContext):
                return super().is_safe_attribute(obj, attr, value)
            return attr in _METHODS.get(type(obj), ())

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_arithmetic(operator, left, right)
            return super().call_binop(context, operator, left, right)

    environment = Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, cache_size=0)
    environment.globals = {"range": _short_range}
    environment.filters = {name: environment.filters[name] for name in _FILTERS.split()}
    environment.filters["join"] = _join
    environment.filters["replace"] = _replace
    return environment


def _check_arithmetic(operator: str, left: Any, right: Any) -> None:
    """Refuse what makes huge results of small operands."""
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if operator == "+":
        fits = numbers or len(left) + len(right) <= MAX_RESULT
    elif not numbers:
        raise ExpressionError(f"`{operator}` works on numbers; use `~` to join text")
    elif operator == "**":
        fits = abs(left) <= _MAX_FACTOR and abs(right) <= _MAX_EXPONENT
    else:
        fits = abs(left) <= _MAX_FACTOR and abs(right) <= _MAX_FACTOR
    if not fits:
        raise ExpressionError(f"the operands of `{operator}` are too large")


def _short_range(*bounds: int) -> range:
    result = range(*bounds)
    if len(result) > _MAX_RANGE:
        raise ExpressionError(f"a range has at most {_MAX_RANGE} numbers")
    return result


def _join(items: Iterable[Any], separator: str = "") -> str:
    texts = [str(item) for item in items]
    _check_result(sum(map(len, texts)) + len(separator) * len(texts))
    return str(separator).join(texts)


def _replace(text: str, old: str, new: str) -> str:
    text, old, new = str(text), str(old), str(new)
    _check_result(len(text) + text.count(old) * len(new))
    return text.replace(old, new)
