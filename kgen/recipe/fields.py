"""Groups of recipe fields.

Frozen, validated data, like the recipe itself (`kgen.recipe.recipe`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Weights(Section):
    """Weights of the loss terms (the paper's α)."""

    ce: Annotated[float, Field(ge=0, le=1e4)] = 0.5
    """α_ce, cross-entropy of the teacher on the pseudo-label (Eq. 3)."""
    adv: Annotated[float, Field(ge=0, le=1e4)] = 1.3
    """α_adv, reward for images on which student and teacher disagree (Eq. 3)."""
    bn: Annotated[float, Field(ge=0, le=1e4)] = 10.0
    """α_bn, distance to the teacher's stored batch-norm statistics (Eq. 3)."""
    kr: Annotated[float, Field(ge=0, le=1e4)] = 0.1
    """α_kr, key region: penalizes a class activation map that stays below its target (Eq. 6)."""
    ed: Annotated[float, Field(ge=0, le=1e4)] = 10.0
    """α_ed, pulls the student's embeddings of stored images toward their class (Eq. 8, 9)."""
    aed: Annotated[float, Field(ge=0, le=1e4)] = 5.0
    """α_aed, pushes the embeddings of new images away from their class (Eq. 10, 11)."""
    tv: Annotated[float, Field(ge=0, le=1e4)] = 0.0
    """Total variation of the image, DeepInversion's smoothness prior."""
    l2: Annotated[float, Field(ge=0, le=1e4)] = 0.0
    """Squared norm of the normalized image, DeepInversion's other prior."""


class Target(Section):
    """The target that the class activation map is pushed up to (M_target, Eq. 6)."""

    kind: Literal["gaussian", "full"] = "gaussian"
    """G(peak, sigma), highest in the center; or Full(peak), the same everywhere."""
    peak: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Height i of G(i, j), or the value n of Full(n)."""
    sigma: Annotated[float, Field(gt=0, le=100)] = 2.0
    """Width j of G(i, j), in cells of the map."""
    sigma_fraction: Annotated[float, Field(gt=0, le=10)] | None = None
    """Width as a share of the map's side instead of in cells; overrides sigma."""


class Radii(Section):
    """Radii of the embedding in-out game (Eq. 9, 11).

    If omitted, they are derived from the class embeddings (D.7).
    """

    inner: Annotated[float, Field(ge=0, le=100)] | None = None
    """r_i, the radius within which the student's embeddings of stored images are left alone; half
    of r_o by default.
    """
    outer: Annotated[float, Field(ge=0, le=100)] | None = None
    """r_o, the radius beyond which new images are left alone; by default the smallest MSE between
    two class embeddings.
    """


class Optimizer(Section):
    """An optimizer and its hyperparameters."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """Adam, AdamW, or SGD with Nesterov momentum."""
    lr: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """Learning rate; for the student, the peak rate that follows the warm-up ramp."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD, or β1 of Adam."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """β2 of Adam."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight decay (decoupled for AdamW)."""


class Optimizers(Section):
    generator: Optimizer = Optimizer(name="adam", lr=4e-3, momentum=0.5)
    """For the generator and the noisy layer."""
    student: Optimizer = Optimizer(name="adamw", lr=1e-3)
    """For the student."""
    images: Optimizer = Optimizer(name="adam", lr=0.01, momentum=0.5)
    """For what each iteration optimizes from scratch without a noisy layer: the latent code, or the
    pixels.
    """
    meta: Optimizer = Optimizer(name="adam", lr=0.02, momentum=0.5)
    """For the shared initialization of the generators of source "latent", updated once per
    iteration.
    """
