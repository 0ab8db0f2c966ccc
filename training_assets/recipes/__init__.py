"""Recipes: code that turns a training set into a candidate; one file per recipe, one registry entry."""

from typing import Any

from resources.policy import MonitoredModel
from resources.registry import Registry
from training_assets.recipes.base import Recipe
from training_assets.recipes.lightgbm import LightGBM
from training_assets.recipes.statsforecast import StatsForecast

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (LightGBM(), StatsForecast())}


def recipe_of(policy: MonitoredModel) -> Recipe:
    """The declared recipe."""
    return RECIPES[policy.retrain.recipe]


def load_version(policy: MonitoredModel, registry: Registry, version: str) -> Any:
    """The model of one registered version, as the declared recipe reads it."""
    return registry.load(policy.model, version, recipe_of(policy).read)


def load_logged(policy: MonitoredModel, registry: Registry, uri: str) -> Any:
    """A logged model that may have no version yet, as the declared recipe reads it."""
    return registry.load_uri(uri, recipe_of(policy).read)
