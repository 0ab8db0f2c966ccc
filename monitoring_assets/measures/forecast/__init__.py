"""Forecasts that have matured: how wrong they were, whether their intervals held, and whether that changed.

Belongs here: pure statistics on frames of matured forecasts. Does not: making forecasts, joining outcomes, storage, Dagster.
"""
