"""Trained networks in files: bundled, published, and user-supplied."""

from kgen.zoo.zoo import card as card
from kgen.zoo.zoo import classes as classes
from kgen.zoo.zoo import load_classifier as load_classifier
from kgen.zoo.zoo import load_student as load_student
from kgen.zoo.zoo import load_teacher as load_teacher
