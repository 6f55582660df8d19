"""System tools: showing, checking and making system files, and their JSON schema."""

from __future__ import annotations

import shlex
import stat
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

import keel.runners
from keel.adapters.logging import get_logger
from keel.adapters.store import HistoricalDataStore
from keel.adapters.whole_file import whole_file
from keel.core.errors import ConfigError, DataError, KeelError
from keel.core.features import parse_features
from keel.core.model.instrument import Instrument
from keel.core.risk.exits import hidden_features
from keel.core.system.config import SystemConfig
from keel.core.system.file import SCHEMA_ID, decode_system, system_schema
from keel.core.system.file_names import LONGEST_ID, shown
from keel.runners.backtest.wiring import check_venue
from keel.runners.home import Home
from keel.runners.systems import LoadedSystem, SystemSource, effective_system, find_source, load_system, override_texts
from keel.runners.tools.registry import Request, Response, ToolContext, tool
from keel.runners.user_code import load_function
from keel.runners.user_path import user_path
from keel.sim.exchange.exchange import default_instrument
from keel.strategies.old_names import rewritten
from keel.strategies.registry import builtin_systems, strategy_ids

log = get_logger("keel.runners.tools.research.systems")


class ShowRequest(Request, frozen=True):
    """A system by name or file, with overrides."""

    system_id: str
    overrides: dict[str, Any] | list[str] | None = None


class ShowResponse(Response, frozen=True, kw_only=True):
    """effective: every key with the value that holds; features: the strategy's and the file's together; text: the file as written."""

    name: str
    origin: str
    file: str
    strategy_class: str
    effective: dict[str, Any]
    features: dict[str, dict[str, Any]]
    text: str


class ValidateResponse(Response, frozen=True, kw_only=True):
    """A system that can run: its file, strategy and features were all found and checked."""

    name: str
    file: str
    strategy_class: str
    features: list[str]
    windows: list[str]
    account: str
    """With which instruments the exchange has taken the account: the store's, or generic ones where it has none."""


class NewRequest(Request, frozen=True):
    """A system of one's own. from_system: copy this one; strategy: write a strategy file of the same name, too."""

    name: str
    from_system: str | None = None
    strategy: bool = False


class NewResponse(Response, frozen=True, kw_only=True):
    """What was written; ``written`` has the system file first."""

    name: str
    written: list[str]


class MigrateRequest(Request, frozen=True):
    """Files of strategies and systems; none: all in the home's folders. dry: only say what would be rewritten."""

    files: tuple[str, ...] = ()
    dry: bool = False


class MigratedFile(Response, frozen=True, kw_only=True):
    """lines: how many of the file were other ones."""

    file: str
    lines: int


class MigrateResponse(Response, frozen=True, kw_only=True):
    """rewritten: the files that named keel's modules as before version 0.2; looked_at: how many files were read."""

    rewritten: list[MigratedFile]
    looked_at: int
    dry: bool


class SchemaRequest(Request, frozen=True):
    """Nothing is asked."""


class SchemaResponse(Response, frozen=True, kw_only=True):
    """The JSON schema (draft 2020-12) of a system file."""

    schema: dict[str, Any]


@tool("systems_show", ShowRequest, ShowResponse)
def systems_show_tool(request: ShowRequest, context: ToolContext) -> ShowResponse:
    """One system: its file, and every key with the value that holds."""
    source = find_source(request.system_id, context.home)
    loaded = load_system(request.system_id, context.home, override_texts(request.overrides))
    return ShowResponse(
        name=loaded.config.system,
        origin=source.origin,
        file=source.filename,
        strategy_class=f"{loaded.strategy.__module__}.{loaded.strategy.__qualname__}",
        effective=effective_system(loaded),
        features=_features(loaded),
        text=source.text,
    )


@tool("systems_validate", ShowRequest, ValidateResponse)
def systems_validate_tool(request: ShowRequest, context: ToolContext) -> ValidateResponse:
    """Check a system whole: keys, values, strategy, parameters, features, windows and promotion rules."""
    loaded = load_system(request.system_id, context.home, override_texts(request.overrides))
    return _validated(loaded, context.home)


@tool("systems_migrate", MigrateRequest, MigrateResponse)
def systems_migrate_tool(request: MigrateRequest, context: ToolContext) -> MigrateResponse:
    """Files that import keel by its names of before version 0.2 (``core.messages``): rewritten to those of now
    (``keel.core.model.messages``)."""
    places = [user_path(name) for name in request.files] or _own_files(context.home)
    found: dict[Path, tuple[bytes, int]] = {}
    for place in places:
        try:
            new, lines = rewritten(place, _content(place))
            if lines:
                _check_writable(place)
                found[place] = new, lines
        except ConfigError as error:
            raise ConfigError(f"{error}; nothing was rewritten") from error
    for place, (new, _) in found.items():
        if not request.dry:
            _overwrite(place, new)
    files = [MigratedFile(file=str(place), lines=lines) for place, (_, lines) in found.items()]
    return MigrateResponse(rewritten=files, looked_at=len(places), dry=request.dry)


def _content(place: Path) -> bytes:
    if place.is_dir():
        raise ConfigError(f"{place} is a folder: name its files, such as {place / '*.py'}")
    try:
        return place.read_bytes()
    except OSError as error:
        raise ConfigError(f"{shown(str(place))}: cannot be read: {error.strerror}") from error


def _check_writable(place: Path) -> None:
    """A file is replaced by another one of its name, which its folder allows: that it is not to be written, its mode says."""
    if not place.stat().st_mode & stat.S_IWUSR:
        raise ConfigError(f"{place} is read-only: chmod u+w {shlex.quote(str(place))}")


def _overwrite(place: Path, content: bytes) -> None:
    """Another content for a file: where it is a link, for what it leads to; its mode stays."""
    target = place.resolve()
    mode = stat.S_IMODE(target.stat().st_mode)
    with whole_file(target) as part:
        part.write_bytes(content)
        part.chmod(mode)


def _own_files(home: Home) -> list[Path]:
    folders = [(home.strategies, "*.py"), (home.systems, "*.y*ml")]
    return [path for folder, names in folders if folder.is_dir() for path in sorted(folder.glob(names))]


@tool("systems_new", NewRequest, NewResponse)
def systems_new_tool(request: NewRequest, context: ToolContext) -> NewResponse:
    """Write a new system file (and a strategy) into the home; nothing that is there is overwritten."""
    contents = _new_files(request, context.home)
    taken = [str(path) for path in contents if path.exists()]
    if taken:
        raise ConfigError(f"{', '.join(taken)} exists already: choose another name, or remove it first")
    schema = context.home.systems / SCHEMA_ID
    if not schema.exists():
        contents[schema] = msgspec.json.format(msgspec.json.encode(system_schema()), indent=2).decode() + "\n"
    written = _write_all(contents)
    try:
        _validated(load_system(str(context.home.systems / f"{request.name}.yaml"), context.home), context.home)
    except KeelError:
        for path in written:
            path.unlink()
        raise
    return NewResponse(name=request.name, written=[str(path) for path in written])


@tool("systems_schema", SchemaRequest, SchemaResponse)
def systems_schema_tool(request: SchemaRequest, context: ToolContext) -> SchemaResponse:
    """The JSON schema of a system file, for editors."""
    return SchemaResponse(schema=system_schema())


def _features(loaded: LoadedSystem) -> dict[str, dict[str, Any]]:
    return {name: dict(spec) for name, spec in {**loaded.strategy.features, **loaded.config.features}.items()}


def _validated(loaded: LoadedSystem, home: Home) -> ValidateResponse:
    config = loaded.config
    declared = {**_features(loaded), **hidden_features(config.exits, config.sizing)}
    specs = parse_features(declared, loaded.params, config.timeframe)
    for spec in specs:
        if spec.is_user_function:
            load_function(spec.fn)
    instruments, account = _instruments(config, home)
    check_venue(config, instruments, loaded.cost_places)
    return ValidateResponse(
        name=config.system,
        file=loaded.filename,
        strategy_class=f"{loaded.strategy.__module__}.{loaded.strategy.__qualname__}",
        features=[spec.name for spec in specs],
        windows=list(config.windows),
        account=account,
    )


def _instruments(config: SystemConfig, home: Home) -> tuple[dict[str, Instrument], str]:
    """The instruments of a system's symbols, and whose they are. A store that is busy or lacks a symbol does not make a system invalid."""
    found: dict[str, Instrument] = {}
    if home.store.exists():
        try:
            with HistoricalDataStore(home.store, read_only=True) as store:
                for symbol in config.symbols:
                    if store.timeframes(symbol, category=config.category):
                        found[symbol] = store.instrument(symbol, config.category)
        except DataError as error:
            log.info("the store was not asked for instruments", reason=str(error))
    generic = [symbol for symbol in config.symbols if symbol not in found]
    for symbol in generic:
        found[symbol] = msgspec.structs.replace(default_instrument(symbol), category=config.category)
    return found, f"generic instruments for {', '.join(generic)}" if generic else "the store's instruments"


# --- new files -------------------------------------------------------------------------------------------------------


def _new_files(request: NewRequest, home: Home) -> dict[Path, str]:
    name = request.name
    if not name.isidentifier() or not name.isascii():
        raise ConfigError(f"{shown(name)} cannot name a system and its files: use letters, digits and _, such as my_trend")
    if len(name) > LONGEST_ID:
        raise ConfigError(f"a name of {len(name):,} characters cannot name a system and its files: use at most {LONGEST_ID}")
    if name in builtin_systems() or name in strategy_ids():
        raise ConfigError(f"{name} is the name of a built-in system or strategy: choose another")
    if request.from_system is not None and request.strategy:
        raise ConfigError("give --from to copy a system, or --strategy to begin with a strategy of your own, not both")
    if request.from_system is not None:
        text = _copied(find_source(request.from_system, home), name)
        return {home.systems / f"{name}.yaml": text}
    found = {home.systems / f"{name}.yaml": _template("system.yaml", name, name if request.strategy else "ema_cross")}
    if request.strategy:
        found[home.strategies / f"{name}.py"] = _template("strategy.py", name, name)
    return found


def _template(kind: str, name: str, strategy: str) -> str:
    """A template from the package with its placeholders filled in."""
    text = files(keel.runners).joinpath("templates", f"{kind}.template").read_text(encoding="utf-8")
    class_name = "".join(part.capitalize() for part in name.split("_") if part)
    for mark, value in (("@NAME@", name), ("@STRATEGY@", strategy), ("@CLASS@", class_name)):
        text = text.replace(mark, value)
    return text


def _copied(source: SystemSource, name: str) -> str:
    """The text of a system file under another id: the line of its key ``system`` is replaced, comments stay."""
    decode_system(source.text, source.filename)
    lines = source.text.split("\n")
    place = next((row for row, line in enumerate(lines) if line.split(":")[0].strip("\"' ") == "system"), None)
    if place is None:
        raise ConfigError(f"{source.filename}: the key system stands on no line of its own: write it as system: {source.name}")
    lines[place] = f"system: {name}"
    return "\n".join(lines)


def _write_all(contents: dict[Path, str]) -> list[Path]:
    """Write new files; when one cannot be written, those before it are removed again."""
    written: list[Path] = []
    try:
        for path, text in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise DataError(f"{error.filename or 'a new file'} could not be written: {error.strerror or error}; nothing was kept") from error
    return written
