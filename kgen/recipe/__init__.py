"""What a run should do: the recipe, its groups of fields, and its validation messages."""

from kgen.recipe.recipe import Recipe as Recipe
from kgen.recipe.recipe import RecipeError as RecipeError
