"""The registry of tools: typed functions that the command line and orchestrators call.

A tool has a name, a request and a response (msgspec Structs with JSON schemas) and a function ``(request, context) -> response`` that
raises KeelErrors. ``Tool.run`` is the typed call; ``Tool.call`` takes plain JSON data and gives ``{ok, data | error}``.
There is no list that is filled at import: the registry is the Tools in the modules of ``MODULES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from keel.adapters.machine import wall_ms
from keel.core.errors import ConfigError, InvariantError, KeelError
from keel.core.model.words import check_fields
from keel.core.system.suggestions import did_you_mean
from keel.runners.home import Home

MODULES = (
    "keel.runners.tools.research.data",
    "keel.runners.tools.research.data_import",
    "keel.runners.tools.research.data_maintenance",
    "keel.runners.tools.research.systems",
    "keel.runners.tools.research.backtest",
    "keel.runners.tools.research.check",
    "keel.runners.tools.research.sweep",
    "keel.runners.tools.research.parity",
    "keel.runners.tools.research.runs",
    "keel.runners.tools.research.diagnostics",
    "keel.runners.tools.trading.smoke",
    "keel.runners.tools.trading.smoke_demo",
    "keel.runners.tools.trading.exchange",
    "keel.runners.tools.trading.journal",
    "keel.runners.tools.trading.session",
    "keel.runners.tools.trading.alerts",
    "keel.runners.tools.trading.replay",
    "keel.runners.tools.trading.wire_parity",
    "keel.runners.tools.trading.compare_live",
)
"""Where tools are. Imported when all of them are asked for, so that a command pays only for its own."""

Progress = Callable[[str, int, int], None]
"""(what is going on, done, of how many)."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tool is asked; the fields' order is the order of a call's arguments. Raises FieldError for a value that a field does not
    take, made in Python as from JSON."""

    def __post_init__(self) -> None:
        check_fields(self)


class WindowRequest(Request, frozen=True):
    """A system over a window, as for a backtest."""

    system_id: str
    window_name: str | None = None
    overrides: dict[str, Any] | list[str] | None = None
    start: str | None = None
    end: str | None = None
    symbols: tuple[str, ...] = ()


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool answers: plain JSON data."""


RequestT = TypeVar("RequestT", bound=Request)
ResponseT = TypeVar("ResponseT", bound=Response)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool works in. progress: told of what takes long; None: nobody listens. now_ms: the clock, ms UTC."""

    home: Home
    progress: Progress | None = None
    now_ms: Callable[[], int] = wall_ms

    def step(self, label: str) -> Callable[[int, int], None] | None:
        """A listener for (done, of how many) under a label."""
        listener = self.progress
        return None if listener is None else lambda done, total: listener(label, done, total)


@dataclass(frozen=True, slots=True)
class Tool(Generic[RequestT, ResponseT]):
    """One tool. Called like a function, it gives ``{ok, data | error}``: ``backtest_run_tool("ema_cross", "sample")``."""

    name: str
    summary: str
    request: type[RequestT]
    response: type[ResponseT]
    function: Callable[[RequestT, ToolContext], ResponseT]

    def run(self, request: RequestT, context: ToolContext) -> ResponseT:
        """The typed call. Raises KeelErrors."""
        return self.function(request, context)

    def call(self, arguments: Mapping[str, Any] | bytes | str, context: ToolContext) -> dict[str, Any]:
        """The call with plain data or JSON text. A KeelError becomes the error; mistakes of ours are raised."""
        try:
            return {"ok": True, "data": msgspec.to_builtins(self.run(self._decoded(arguments), context))}
        except KeelError as error:
            return {"ok": False, "error": error_data(error)}

    def __call__(self, *values: Any, home: Home | Path | None = None, **named: Any) -> dict[str, Any]:
        """The call with Python arguments, in the order of the request's fields; home: None is KEEL_HOME, else the current folder."""
        fields = self.request.__struct_fields__
        if len(values) > len(fields):
            raise TypeError(f"{self.name} takes {len(fields)} arguments ({', '.join(fields)}), {len(values)} were given")
        given = dict(zip(fields, values, strict=False))
        for name in named:
            if name in given:
                raise TypeError(f"{self.name} got two values for {name}")
        return self.call({**given, **named}, ToolContext(Home.find(home)))

    def schema(self) -> dict[str, Any]:
        """Name, summary, and the JSON schemas of request and response."""
        request, response = (msgspec.json.schema(kind) for kind in (self.request, self.response))
        return {"name": self.name, "summary": self.summary, "request": request, "response": response}

    def _decoded(self, arguments: Mapping[str, Any] | bytes | str) -> RequestT:
        try:
            if isinstance(arguments, str):
                arguments = arguments.encode("utf-8")
            if isinstance(arguments, Mapping):
                return msgspec.convert(dict(arguments), self.request)
            return msgspec.json.decode(arguments, type=self.request)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            fields = ", ".join(self.request.__struct_fields__) or "none"
            raise ConfigError(f"tool {self.name}: {error}; its arguments are: {fields}") from error


def tool(
    name: str, request: type[RequestT], response: type[ResponseT]
) -> Callable[[Callable[[RequestT, ToolContext], ResponseT]], Tool[RequestT, ResponseT]]:
    """Makes a function a tool; the first sentence of its docstring is the summary."""

    def wrap(function: Callable[[RequestT, ToolContext], ResponseT]) -> Tool[RequestT, ResponseT]:
        summary = (function.__doc__ or "").strip().splitlines()
        if not summary:
            raise InvariantError(f"the tool {name} has no docstring: its first line is what lists show")
        return Tool(name, summary[0], request, response, function)

    return wrap


def all_tools() -> dict[str, Tool[Any, Any]]:
    """Every tool by name, sorted."""
    modules = [import_module(name) for name in MODULES]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Tool)]
    return {entry.name: entry for entry in sorted(found, key=lambda entry: entry.name)}


def find_tool(name: str) -> Tool[Any, Any]:
    """The tool of this name. Raises ConfigError, with the nearest one."""
    tools = all_tools()
    if name not in tools:
        raise ConfigError(f"there is no tool {name!r}: {did_you_mean(name, tools)}")
    return tools[name]


def call_tool(name: str, arguments: Mapping[str, Any] | bytes | str, context: ToolContext) -> dict[str, Any]:
    """``{ok, data | error}`` of the tool of this name; an unknown name is an error like any other."""
    try:
        found = find_tool(name)
    except ConfigError as error:
        return {"ok": False, "error": error_data(error)}
    return found.call(arguments, context)


def error_data(error: KeelError) -> dict[str, Any]:
    """An error as plain data; ``exit_code`` is what a command exits with."""
    return {
        "type": type(error).__name__,
        "message": "\n".join([str(error), *getattr(error, "__notes__", ())]),
        "exit_code": error.exit_code,
    }
