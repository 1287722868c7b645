"""The bundled recipes: for laptops, from the paper, and on photographs."""

from kgen.recipes.recipes import get as get
