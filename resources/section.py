"""What every part of a declaration is made of: strict sections, durations, moments, and errors that point at a field.

Belongs here: the base of sections and the types of single values. Does not: any section (``policy.py``, ``retraining.py``).
"""

from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from resources.chunks import as_utc, parse_duration


def _check_duration(text: str) -> str:
    parse_duration(text)
    return text


def _to_utc(value: object) -> object:
    if isinstance(value, datetime):
        return as_utc(value)
    if isinstance(value, str):
        try:
            return as_utc(datetime.fromisoformat(value))
        except ValueError as error:
            raise ValueError(f"got {value!r}; expected a day or moment such as 2024-01-31") from error
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ValueError(f"got {value!r}; expected a day or moment such as 2024-01-31")


Duration = Annotated[str, AfterValidator(_check_duration), Field(examples=["30d", "4y"])]
Moment = Annotated[datetime, BeforeValidator(_to_utc)]


class FieldError(ValueError):
    """A rule between fields is broken; ``field`` is the path of the field to change, below the section."""

    def __init__(self, field: tuple[str | int, ...], message: str) -> None:
        """Keep the path beside the message."""
        super().__init__(message)
        self.field = field


class Section(BaseModel):
    """A part of the declaration: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
