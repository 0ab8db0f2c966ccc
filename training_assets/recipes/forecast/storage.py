"""A fitted forecaster on disk: JSON, Parquet and LightGBM's text. No pickle, so loading runs nothing.

Belongs here: the folder's layout. Does not: fitting. Writes ``spec.json``, one Parquet file per frame and, where LightGBM was chosen,
``booster.lgb``; reads the same.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from training_assets.recipes.forecast.base import Fitted, ForecastSpec

if TYPE_CHECKING:
    import pandas as pd

_FRAMES = ("history", "choices", "scores", "errors", "states")
_SPEC, _BOOSTER = "spec.json", "booster.lgb"


def save(fitted: Fitted, folder: str | Path) -> Path:
    """Write into ``folder``, made where it is missing; gives it back. The same forecaster gives the same numbers after ``load``."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    (home / _SPEC).write_text(fitted.spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for name in _FRAMES:
        frame: pd.DataFrame = getattr(fitted, name)
        frame.to_parquet(home / f"{name}.parquet", index=False, compression="zstd")
    if fitted.booster is None:
        (home / _BOOSTER).unlink(missing_ok=True)
    else:
        (home / _BOOSTER).write_text(fitted.booster, encoding="utf-8")
    return home


def load(folder: str | Path) -> Fitted:
    """Read what ``save`` wrote.

    Raises:
        FileNotFoundError: naming the files that are missing.
    """
    import pandas as pd

    home = Path(folder)
    missing = [name for name in (_SPEC, *(f"{one}.parquet" for one in _FRAMES)) if not (home / name).is_file()]
    if missing:
        raise FileNotFoundError(f"forecaster in {home}: got a folder without {missing}; expected a folder written by `save`")
    spec = ForecastSpec.model_validate_json((home / _SPEC).read_text(encoding="utf-8"))
    frames = {name: pd.read_parquet(home / f"{name}.parquet") for name in _FRAMES}
    text = (home / _BOOSTER).read_text(encoding="utf-8") if (home / _BOOSTER).is_file() else None
    return Fitted(spec=spec, booster=text, **frames)
