"""What a run is asked for: the recipe, its groups of fields, and what is said about wrong ones."""

from kgen.recipe.recipe import Recipe as Recipe
from kgen.recipe.recipe import RecipeError as RecipeError
