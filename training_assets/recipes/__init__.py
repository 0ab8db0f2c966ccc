"""Recipes: code that turns a training set into a candidate; one file per recipe, one registry entry."""

from training_assets.recipes.base import Recipe
from training_assets.recipes.lightgbm import LightGBM

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (LightGBM(),)}
