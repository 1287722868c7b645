"""Real images and their classes."""

from kgen.data.data import RealImages as RealImages
from kgen.data.data import test_set as test_set
