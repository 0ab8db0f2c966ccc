"""What a change of a declaration means, in words; and reading a changed declaration that names only what differs.

Belongs here: walking two declarations side by side, merging a ``retrain`` section over a declaration. Does not: replaying either.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from resources.catalogue import Declaration, DeclarationError, declared_as, read_declarations, read_mapping
from resources.policy import MonitoredModel
from resources.retraining import Budget, Condition, Retrain, Signal, Threshold

_SECTION = "retrain"


def read_change(file: Path, base: MonitoredModel) -> Declaration:
    """Read a changed declaration: a full one, or one that holds only ``retrain``, whose fields replace the model's own.

    Of ``retrain`` each field named replaces the whole field, so that a new ``when`` is not mixed with the old one; ``budget`` and
    ``parameters`` are completed from the old ones.

    Raises:
        DeclarationError: naming file, line, field, what was got and what is expected.
    """
    raw, lines = read_mapping(file)
    if set(raw) != {_SECTION}:
        if "model" not in raw:
            expected = "a full declaration that starts with `model: <name>`, or one section called retrain"
            raise DeclarationError(f"{file.name}:1: (whole file): got {', '.join(map(str, raw)) or 'nothing'}; expected {expected}")
        declared = read_declarations(file)
        for one in declared:
            if one.policy.model == base.model:
                return one
        raise declared[0].error(("model",), declared[0].policy.model, f"{base.model!r}, the model that is compared")
    own = base.model_dump(mode="json", exclude_unset=True)
    return declared_as(file, {**own, _SECTION: _replaced(own.get(_SECTION, {}), raw[_SECTION])}, lines)


def _replaced(old: Mapping[str, Any], new: Any) -> Any:
    if not isinstance(new, Mapping):
        return new
    completed = {
        name: {**old[name], **new[name]}
        for name in ("budget", "parameters")
        if isinstance(old.get(name), Mapping) and isinstance(new.get(name), Mapping)
    }
    return {**old, **new, **completed}


def changes(old: MonitoredModel, new: MonitoredModel) -> list[str]:
    """What changes from one declaration to the other, a sentence each; empty if nothing does.

    Clauses are told apart by their name in the ledger. The last sentence says whether what was fitted on the reference still holds.
    """
    said = [*_condition_changes(old.retrain, new.retrain), *_retrain_changes(old.retrain, new.retrain)]
    for name in MonitoredModel.model_fields:
        if name != _SECTION:
            said += _field_changes((name,), getattr(old, name), getattr(new, name))
    if said:
        said.append(_of_the_fit(old, new))
    return said


def _of_the_fit(old: MonitoredModel, new: MonitoredModel) -> str:
    if old.fit_hash == new.fit_hash:
        return "what was fitted on the reference still holds: nothing is fitted anew"
    return f"what was fitted on the reference does not hold any more and is fitted anew (fit {old.fit_hash} becomes {new.fit_hash})"


# --- conditions -------------------------------------------------------------------------------------------------------


def _condition_changes(old: Retrain, new: Retrain) -> Iterator[str]:
    before, after = (_clauses(one.when) for one in (old, new))
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            yield f"{name} is removed: it called when {_told(before[name])}"
        elif name not in before:
            yield f"{name} is added: it calls when {_told(after[name])}"
        elif before[name].kind != after[name].kind:
            yield f"{name} becomes a {after[name].kind} instead of a {before[name].kind}: it calls when {_told(after[name])}"
        else:
            yield from _clause_changes(name, before[name], after[name])
    shapes = [_shape(one.when) for one in (old, new)]
    if shapes[0] != shapes[1] and len(before) + len(after) > 2:
        yield f"the condition reads {shapes[1]} instead of {shapes[0]}"


def _clauses(when: Condition) -> dict[str, Condition]:
    return {one.clause: one for _, one in when.walk() if not one.parts}


def _shape(one: Condition) -> str:
    """A condition as a sentence of clause names."""
    parts = [_shape(part) if not part.parts else f"({_shape(part)})" for part in one.parts]
    if not parts:
        return one.clause
    if one.at_least is not None:
        return f"at least {one.at_least.n} of {', '.join(parts)}"
    return (" and " if one.all else " or ").join(parts)


def _clause_changes(name: str, old: Condition, new: Condition) -> Iterator[str]:
    if old.update != new.update:
        yield f"{name} updates the model by {new.update or 'retrain.update'} instead of {old.update or 'retrain.update'}"
    yield from _section_changes(name, getattr(old, old.kind), getattr(new, new.kind))


def _section_changes(name: str, old: BaseModel, new: BaseModel) -> Iterator[str]:
    if isinstance(old, Signal) and isinstance(new, Signal) and _sustained(old) != _sustained(new):
        yield f"{name} must hold on {_sustained(new)} instead of {_sustained(old)}"
    for field in type(new).model_fields:
        before, after = getattr(old, field), getattr(new, field)
        if before == after or field in Signal.model_fields:
            continue
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _section_changes(f"{name}.{field}", before, after)
        elif field == "fire_above":
            yield f"{name} fires above {after:g} instead of {before:g}"
        elif field == "rearm_below":
            yield f"{name} re-arms {_rearm(after)} instead of {_rearm(before)}"
        else:
            yield f"{name}: {field} is {_show(after)} instead of {_show(before)}"


def _rearm(value: float | None) -> str:
    return "as soon as it is no longer above what fires it" if value is None else f"below {value:g}"


def _sustained(signal: Signal) -> str:
    if signal.within is not None:
        return f"{signal.chunks} of the chunks of {signal.within}"
    latest = signal.of or signal.chunks
    return "the newest chunk" if latest == 1 else f"{signal.chunks} of the latest {latest} chunks"


def _told(one: Condition) -> str:
    """What a clause waits for."""
    section = getattr(one, one.kind)
    said = []
    if isinstance(section, Threshold):
        said.append(f"{one.kind} is above {section.fire_above:g}, re-armed {_rearm(section.rearm_below)}")
    skipped = {*Signal.model_fields, *Threshold.model_fields}
    said += [
        f"{field} is {_show(getattr(section, field))}"
        for field in type(section).model_fields
        if field not in skipped and getattr(section, field) not in (None, {}, [])
    ]
    if isinstance(section, Signal):
        said.append(f"on {_sustained(section)}")
    return ", ".join(said) or f"{one.kind} says so"


# --- everything else --------------------------------------------------------------------------------------------------


def _retrain_changes(old: Retrain, new: Retrain) -> Iterator[str]:
    if old.enabled != new.enabled:
        yield "retraining is switched on" if new.enabled else "retraining is switched off: nothing is trained, whatever is seen"
    if old.budget != new.budget:
        yield f"budget {_direction(old.budget, new.budget)} from {_budget(old.budget)} to {_budget(new.budget)}"
    if old.cooldown != new.cooldown:
        yield f"cooldown {'rises' if new.cooldown > old.cooldown else 'falls'} from {old.cooldown} to {new.cooldown} chunks"
    told = {"enabled", "when", "budget", "cooldown", "quarantine"}
    for name in Retrain.model_fields:
        if name not in told:
            yield from _field_changes((_SECTION, name), getattr(old, name), getattr(new, name))
    for before in old.quarantine:
        if before not in new.quarantine:
            yield f"the quarantine from {before.start:%Y-%m-%d %H:%M} to {before.end:%Y-%m-%d %H:%M} is lifted or changed"
    for after in new.quarantine:
        if after not in old.quarantine:
            span = f"from {after.start:%Y-%m-%d %H:%M} to {after.end:%Y-%m-%d %H:%M}"
            yield f"rows {span} are quarantined by {after.who}: {after.why}"


def _budget(budget: Budget) -> str:
    return f"{budget.retrainings} retrainings per {budget.per}"


def _direction(old: Budget, new: Budget) -> str:
    if old.per != new.per or old.retrainings == new.retrainings:
        return "changes"
    return "rises" if new.retrainings > old.retrainings else "falls"


def _field_changes(path: tuple[str, ...], old: Any, new: Any) -> list[str]:
    if old == new:
        return []
    if isinstance(old, BaseModel) and isinstance(new, BaseModel) and type(old) is type(new):
        own = type(new).model_fields
        return [line for name in own for line in _field_changes((*path, name), getattr(old, name), getattr(new, name))]
    return [f"{'.'.join(path)} is {_show(new)} instead of {_show(old)}"]


def _show(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "not given"
    if isinstance(value, list | tuple):
        return ", ".join(map(_show, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_show(own)}" for name, own in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
