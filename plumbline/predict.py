"""``plumbline predict``: what any registered version answers for a chunk.

Belongs here: asking for it, writing a file, the table. Does not: answering (``training_assets/answering.py``).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plumbline.screen import console, quiet, refusing
from plumbline.status import find_policy
from resources.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

#: Rows of the table on the screen.
_SHOWN = 20


def asked(settings: Settings, model: str, version: str | None, chunk: str | None) -> "pd.DataFrame":
    """The answers of ``training_assets.answering.answers`` for a model by name.

    Raises:
        LookupError: for an unknown model or version, with the known ones.
        ValueError: for a chunk that is none.
    """
    from training_assets.answering import answers

    policy = find_policy(settings, model)
    return answers(policy, settings.lake, settings.registry, settings.models, version, chunk)


def predict(
    model: Annotated[str, typer.Argument(help="Name of the monitored model.")],
    version: Annotated[str | None, typer.Option(help="Registered version; the serving one if absent.")] = None,
    chunk: Annotated[
        str | None, typer.Option(help="Key of a chunk; the newest if absent, of a forecaster the one that begins now.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write all rows here: .csv or .parquet.")] = None,
) -> None:
    """Answer for a chunk with any registered version: a forecaster forecasts from its start; nothing is served."""
    quiet()
    with refusing(LookupError, ValueError):
        told = asked(Settings.from_environment(), model, version, chunk)
        if out is not None:
            write(told, out)
    console.print(
        f"{model}, version {told['model_version'].iloc[0] if len(told) else version}: first {min(len(told), _SHOWN)} of {len(told)} rows"
    )
    console.print(picture(told), soft_wrap=True, markup=False, highlight=False)
    if out is not None:
        console.print(f"{len(told)} rows written to {out}", soft_wrap=True)


def write(told: "pd.DataFrame", out: Path) -> None:
    """Write answers to a ``.csv`` or ``.parquet`` file. Raises ValueError for another ending."""
    if out.suffix == ".csv":
        told.to_csv(out, index=False)
    elif out.suffix == ".parquet":
        told.to_parquet(out, index=False)
    else:
        raise ValueError(f"--out: got {out.name!r}; expected a name that ends in .csv or .parquet")


def picture(told: "pd.DataFrame") -> str:
    """The first rows as text, without what says how they came about."""
    shown = told.drop(columns=["cutoff", "model", "is_fallback", "baseline"], errors="ignore").head(_SHOWN)
    return str(shown.to_string(index=False, float_format="{:.6g}".format))
