"""The recipes that come with the program: for a laptop, of the paper, on photographs."""

from kgen.recipes.recipes import get as get
