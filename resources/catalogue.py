"""From ``models/*.yaml`` to validated declarations; every error names file, line, field, got and expected.

Belongs here: reading and validating declarations, their JSON Schema. Does not: what the fields mean (``policy.py``).
Reads: ``models/*.yaml``. Writes: nothing.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from resources.policy import MonitoredModel
from resources.section import FieldError

_SectionT = TypeVar("_SectionT", bound=BaseModel)
FieldPath = tuple[str | int, ...]

#: Keys and addresses of channels are longer than names of fields and channels.
_SHORTEST_SECRET = 16
#: A key beside the declaration's own: named overrides that become models ``<model>_<variant>``.
VARIANTS = "variants"


class DeclarationError(ValueError):
    """One or more declarations cannot be used; the message lists every finding on a line of its own."""


@dataclass(frozen=True)
class Declaration:
    """A validated policy and where each of its fields stands in its file."""

    policy: MonitoredModel
    file: Path
    lines: Mapping[FieldPath, int]

    def error(self, field: FieldPath, got: object, expected: str) -> DeclarationError:
        """Build the error for a value that turned out wrong after validation, such as an unknown method name."""
        return DeclarationError(_finding(self.file, self.lines, field, got, expected))


class _Loader(yaml.SafeLoader):
    """YAML with the booleans of version 1.2: the key ``on`` of a clause is a word, not true."""


_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in own if tag != _BOOLEAN] for first, own in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


class _KeyTwiceError(ValueError):
    """A key stands twice in one mapping; YAML would keep the last one silently."""


def _finding(file: Path, lines: Mapping[FieldPath, int], field: FieldPath, got: object, expected: str) -> str:
    return _located(file, lines, field) + f"got {got!r}; expected {expected}"


def _located(file: Path, lines: Mapping[FieldPath, int], field: FieldPath) -> str:
    known = next((lines[field[:depth]] for depth in range(len(field), -1, -1) if field[:depth] in lines), 1)
    return f"{file.name}:{known}: {'.'.join(str(part) for part in field) or '(whole file)'}: "


def _line_numbers(node: yaml.Node | None, path: FieldPath = ()) -> dict[FieldPath, int]:
    if node is None:
        return {}
    lines = {path: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if (*path, key.value) in lines:
                name = ".".join(str(part) for part in (*path, key.value))
                raise _KeyTwiceError(
                    f"{key.start_mark.line + 1}: {name}: got it a second time, after line {lines[(*path, key.value)]}; expected every key once"
                )
            lines |= _line_numbers(value, (*path, key.value))
            lines[(*path, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines |= _line_numbers(value, (*path, index))
    return lines


def _expected(error: Any, section: type[BaseModel]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        siblings = _field_names(error["loc"][:-1], section)
        close = difflib.get_close_matches(str(error["loc"][-1]), siblings, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"one of {', '.join(siblings)}{hint}"
    if error["type"] == "missing":
        return "this required field"
    return message[0].lower() + message[1:]


def _field_names(path: FieldPath, section: type[BaseModel]) -> list[str]:
    model: Any = section
    for part in (part for part in path if not isinstance(part, int)):
        field = getattr(model, "model_fields", {}).get(part)
        annotation = field.annotation if field else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next((option for option in options if hasattr(option, "model_fields")), None)
    return sorted(getattr(model, "model_fields", {}))


def _merge(base: dict[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    merged = deepcopy(base)
    for key, value in override.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def read_mapping(file: Path) -> tuple[dict[str, Any], dict[FieldPath, int]]:
    """The plain content of one YAML file, and the line of each field.

    Raises:
        DeclarationError: where it is no YAML, or no mapping.
    """
    raw, lines = _read(file)
    if not isinstance(raw, dict):
        raise DeclarationError(_finding(file, lines, (), raw, "a mapping that starts with `model: <name>`"))
    return raw, lines


def declared_as(file: Path, raw: Mapping[str, Any], lines: Mapping[FieldPath, int]) -> Declaration:
    """Validate a plain declaration; findings point into ``file``. Raises DeclarationError."""
    return Declaration(_validate(file, raw, lines, MonitoredModel), file, lines)


def read_declarations(file: Path) -> list[Declaration]:
    """Read one YAML file: the declared model, then its variants.

    Raises:
        DeclarationError: naming file, line, field, what was got and what is expected, one finding a line.
    """
    raw, lines = read_mapping(file)
    variants = raw.pop(VARIANTS, None) or {}
    if not isinstance(variants, dict) or not all(isinstance(value, dict) for value in variants.values()):
        raise DeclarationError(_finding(file, lines, (VARIANTS,), variants, "a mapping of variant name to overrides"))
    declarations = [declared_as(file, raw, lines)]
    for name, override in variants.items():
        body = _merge(raw, {"model": f"{raw['model']}_{name}", **override})
        prefix = (VARIANTS, name)
        own = {path[2:]: line for path, line in lines.items() if path[:2] == prefix}
        declarations.append(declared_as(file, body, {**lines, **own}))
    return declarations


def read_section(file: Path, section: type[_SectionT], check: Callable[[_SectionT], None] | None = None) -> _SectionT:
    """Read one YAML file that is one section, such as ``notifications.yaml``.

    Args:
        file: what to read.
        section: what it must be.
        check: raises FieldError where it does not fit what else is declared.

    Raises:
        DeclarationError: naming file, line, field, what was got and what is expected, one finding a line; long values are not repeated:
            somebody may have written a secret.
    """
    raw, lines = _read(file)
    if not isinstance(raw, dict):
        raise DeclarationError(
            _located(file, lines, ()) + f"got no mapping; expected one with the fields {', '.join(section.model_fields)}"
        )
    try:
        made = _validate(file, raw, lines, section)
    except DeclarationError as error:
        raise DeclarationError(_without(str(error), _texts(raw))) from None
    try:
        if check is not None:
            check(made)
    except FieldError as error:
        raise DeclarationError(_without(_located(file, lines, error.field) + str(error), _texts(raw))) from None
    return made


def _texts(raw: object) -> Iterator[str]:
    """Every text among plain values."""
    if isinstance(raw, str):
        yield raw
    elif isinstance(raw, dict):
        for value in raw.values():
            yield from _texts(value)
    elif isinstance(raw, list):
        for value in raw:
            yield from _texts(value)


def _without(message: str, texts: Iterable[str]) -> str:
    for text in sorted(texts, key=len, reverse=True):
        if len(text) >= _SHORTEST_SECRET:
            message = message.replace(text, "(not shown)")
    return message


def _read(file: Path) -> tuple[Any, dict[FieldPath, int]]:
    """The plain data of a YAML file, and where each field stands."""
    try:
        text = file.read_text(encoding="utf-8")
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        lines = _line_numbers(yaml.compose(text, Loader=_Loader))
    except _KeyTwiceError as error:
        raise DeclarationError(f"{file.name}:{error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DeclarationError(f"{file.name}:{line}: (whole file): got {error.problem}; expected valid YAML") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DeclarationError(f"{file.name}:1: (whole file): got {str(error).splitlines()[0]}; expected valid YAML in UTF-8") from error
    return raw, lines


def _validate(file: Path, raw: Mapping[str, Any], lines: Mapping[FieldPath, int], section: type[_SectionT]) -> _SectionT:
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        findings = [_finding_of(file, lines, item, section) for item in error.errors()]
        raise DeclarationError("\n".join(findings)) from error


def _finding_of(file: Path, lines: Mapping[FieldPath, int], error: Any, section: type[BaseModel]) -> str:
    """One line for one pydantic error; our own rules say got and expected themselves and may point below their section."""
    field = (*error["loc"], *getattr(error.get("ctx", {}).get("error"), "field", ()))
    message = str(error["msg"]).removeprefix("Value error, ")
    if message.startswith("got "):
        return _located(file, lines, field) + message
    return _finding(file, lines, field, _got(error), _expected(error, section))


def _got(error: Any) -> object:
    if error["type"] == "missing":
        return "nothing"
    is_section = isinstance(error["input"], dict) and error["type"] == "value_error"
    return "a section that does not fit together" if is_section else error["input"]


def load_catalogue(folder: Path) -> list[Declaration]:
    """Read every ``*.yaml`` of ``folder``, sorted by file name.

    Raises:
        DeclarationError: with the findings of all files, or when the folder declares nothing, or a name twice.
    """
    declarations: list[Declaration] = []
    findings: list[str] = []
    for file in sorted(folder.glob("*.yaml")):
        try:
            declarations += read_declarations(file)
        except DeclarationError as error:
            findings.append(str(error))
    seen: dict[str, Path] = {}
    for declaration in declarations:
        name = declaration.policy.model
        if name in seen:
            findings.append(
                _finding(declaration.file, declaration.lines, ("model",), name, f"a name not already used in {seen[name].name}")
            )
        seen[name] = declaration.file
    if findings:
        raise DeclarationError("\n".join(findings))
    if not declarations:
        raise DeclarationError(f"{folder.name}: got no *.yaml file; expected one declaration per monitored model")
    return declarations


def require_known(
    declarations: Iterable[Declaration],
    names_of: Callable[[MonitoredModel], Mapping[FieldPath, str]],
    known: Iterable[str],
) -> None:
    """Check names in declarations against a registry.

    Args:
        declarations: what was loaded.
        names_of: gives, per policy, each field path and the name written there.
        known: the registry's names.

    Raises:
        DeclarationError: for the first unknown name, with file, line, the known names and the closest one.
    """
    options = sorted(known)
    for declaration in declarations:
        for field, name in names_of(declaration.policy).items():
            if name not in options:
                close = difflib.get_close_matches(name, options, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise declaration.error(field, name, f"one of {', '.join(options)}{hint}")


def declaration_table() -> str:
    """Every field of a declaration with its default, as markdown; committed as ``docs/declaration.md``."""
    lines = [
        "# Declaration", "", "Generated by `plumbline schema`. Fields without a default are required.", "",
        "| field | default | meaning |", "|---|---|---|", *_field_lines(MonitoredModel, ()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _field_lines(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        section = next((one for one in options if isinstance(one, type) and issubclass(one, BaseModel)), None)
        default = "required" if field.is_required() else f"`{json.dumps(field.get_default(call_default_factory=True), default=str)}`"
        if section is not None:
            default = "required" if field.is_required() else "none" if field.default is None else "see below"
        meaning = field.description or (section.__doc__ if section else "") or ""
        yield f"| `{'.'.join((*path, name))}` | {default} | {meaning.replace('|', '/')} |"
        if section is not None:
            yield from _field_lines(section, (*path, name))


def json_schema() -> str:
    """JSON Schema of a declaration file, for editors; committed as ``models/schema.json``."""
    schema = MonitoredModel.model_json_schema()
    schema["properties"][VARIANTS] = {
        "type": "object",
        "description": "Named overrides; each becomes a model <model>_<variant>.",
        "additionalProperties": {"type": "object"},
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
