"""Rebuild the sample logs from the published measurements named in README.md.

Usage: python models/samples/prepare.py RAW_FOLDER, where RAW_FOLDER holds ``weather_station.parquet`` (one row a day),
``glucose_sensor.parquet`` (one row every five minutes) and ``electricity_demand.parquet`` (one row every half hour) as described in
README.md.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
MISWIRED_FROM = 12_000


def weather_station(raw: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The log as recorded, and the same log with the eight sensor columns put back in their places."""
    sensors = [column for column in raw.columns if column not in ("date", "day_number", "rain")]
    repaired = raw.copy()
    values = repaired[sensors].to_numpy()
    values[MISWIRED_FROM:] = np.roll(values[MISWIRED_FROM:], 1, axis=1)
    repaired[sensors] = values
    return {"weather_station": raw, "weather_station_control": repaired}


def glucose_sensor(raw: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Readings with inputs a monitor has at hand: the current, its recent mean and slope, and the hour."""
    log = raw.sort_values("timestamp").reset_index(drop=True)
    current = log.set_index("timestamp")["isig"]
    hour_ago = current.rolling("1h", min_periods=1)
    log["isig_1h_mean"] = hour_ago.mean().to_numpy()
    log["isig_1h_spread"] = hour_ago.std().fillna(0.0).to_numpy()
    log["isig_change"] = log["isig"] - log["isig_1h_mean"]
    log["hour_of_day"] = log["timestamp"].dt.hour + log["timestamp"].dt.minute / 60
    log.insert(0, "reading", "r" + log.index.astype(str))
    return {"glucose_sensor": log}


def electricity_demand(raw: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The load as published, in the order of time."""
    return {"electricity_demand": raw.sort_values("timestamp", ignore_index=True)[["timestamp", "load_mw"]]}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    frames = weather_station(pd.read_parquet(folder / "weather_station.parquet"))
    frames |= glucose_sensor(pd.read_parquet(folder / "glucose_sensor.parquet"))
    frames |= electricity_demand(pd.read_parquet(folder / "electricity_demand.parquet"))
    for name, frame in frames.items():
        frame.to_parquet(HERE / f"{name}.parquet", index=False, compression="zstd")
        print(f"{name}: {len(frame)} rows")
