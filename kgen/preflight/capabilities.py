"""Rows on a teacher's capabilities: location and size of its map, disabled terms, cost of a
step.
"""

from __future__ import annotations

from torch import nn

from kgen.engine.synthesis import Diverged
from kgen.keyregion import gaussian_target
from kgen.phrases import count, short_message
from kgen.preflight import probes
from kgen.preflight.request import Row
from kgen.teachers import MapKind, Teacher

MAX_SECONDS = 12.0
"""Time limit for real steps at all resolutions together; beyond it, cost is extrapolated by pixels.
"""
FLAT_CELLS = 3
"""Cells per side of a map on which the usual target is nearly flat."""
KINDS = {
    "cam": "class activation map (Eq. 5)",
    "linearised": "linearized map (the head is more than pooling and one Linear layer)",
    "attention": "attention of [CLS] in the last block",
}


def maps(
    teacher: Teacher, kind: MapKind, requested: tuple[int, ...] | None, smallest: int | None
) -> tuple[list[Row], tuple[int, ...]]:
    """Rows on the spatial map at each resolution, and the usable resolutions.

    No resolution is usable if the last row is a failure.

    Args:
        requested: resolutions; by default half, three quarters and all of the teacher's side.
        smallest: the smallest side that the teacher accepts, if known.
    """
    sizes: dict[int, tuple[int, int] | None] = {}
    supported = {
        side: probes.supported_side(teacher, side)
        for side in requested or probes.default_sides(teacher)
    }
    for side in dict.fromkeys(supported.values()):
        try:
            sizes[side] = probes.map_size(teacher, side)
        except Exception as error:  # whatever a network raises for images that it does not accept
            if requested:
                advice = (
                    f"Use {smallest} or more, up to {teacher.card.side}."
                    if smallest
                    else "Omit --resolutions."
                )
                return [
                    Row(
                        name="spatial map",
                        status="fail",
                        finding=(
                            f"it does not accept {side} × {side} images: {short_message(error)}"
                        ),
                        advice=advice,
                    )
                ], ()
    if not sizes:
        finding = (
            f"it only accepts {teacher.card.side} × {teacher.card.side} images, which the"
            " generator cannot make"
        )
        return [
            Row(
                name="spatial map",
                status="fail",
                finding=finding,
                advice="Choose --resolutions that both support.",
            )
        ], ()
    limit = f"; smallest image {smallest} × {smallest}" if smallest else ""
    note = ""
    if changed := ", ".join(
        f"{requested_side} becomes {side}"
        for requested_side, side in supported.items()
        if requested and requested_side != side
    ):
        note = (
            f"Generator and teacher need multiples of {probes.step(teacher, max(sizes))}:"
            f" {changed}."
        )
    if kind == "none":
        reason = getattr(teacher.network, "no_map", "")
        where = f": {reason}" if reason else " before its pooling"
        advice = f"The key region is off: nothing shows where the teacher looks. {note}".strip()
        return [
            Row(
                name="spatial map",
                status="warn",
                finding=f"none{where}{limit}",
                advice=advice,
            )
        ], tuple(sizes)
    cells = {side: size for side, size in sizes.items() if size is not None}
    sizes_text = ", ".join(f"{side} → {size[0]} × {size[1]}" for side, size in cells.items())
    rows = [
        Row(
            name="spatial map",
            status="ok",
            finding=f"{KINDS[kind]}, by image size: {sizes_text}{limit}",
            advice=note,
        )
    ]
    return [*rows, *_key_region(cells)], tuple(sizes)


def _key_region(cells: dict[int, tuple[int, int]]) -> list[Row]:
    """A row if at some sides, the map is too small for a target: side → (h,w)."""
    findings, advice = [], []
    if single := [side for side, size in cells.items() if max(size) == 1]:
        sizes = " and ".join(f"{side} × {side}" for side in single)
        findings.append(f"for images of {sizes}, the map is a single cell")
        advice.append("On a single cell, no target means anything: use larger images.")
    flat = {s: size for s, size in cells.items() if min(size) <= FLAT_CELLS and s not in single}
    if flat:
        targets = {side: gaussian_target(*size) for side, size in flat.items()}
        low = ", ".join(
            f"{side}: {float(target.min()):.2f} to {float(target.max()):.2f}"
            for side, target in targets.items()
        )
        findings.append(
            f"the target G(1, 2) is nearly flat on maps of {FLAT_CELLS} × {FLAT_CELLS} cells or"
            f" smaller ({low})"
        )
        advice.append(
            "Such a target has little effect; use larger images, or --set"
            " target.sigma_fraction=0.25."
        )
    if not findings:
        return []
    return [
        Row(name="key region", status="warn", finding="; ".join(findings), advice=" ".join(advice))
    ]


def batch_norm(network: nn.Module) -> Row:
    """Whether it stores statistics of its training data."""
    norms = [
        m
        for m in network.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
    ]
    layers = len(norms)
    if layers and all(_is_untrained(layer) for layer in norms):
        advice = (
            "Check that this is the trained file: an untrained network gives nearly the same answer"
            " for every image."
        )
        return Row(
            name="BatchNorm",
            status="warn",
            finding=f"{count(layers, 'layer')}, all with the statistics of an untrained network",
            advice=advice,
        )
    if layers:
        advice = (
            "Use --set bn_scale=relative, as tiny does: it has the same magnitude in every network."
        )
        return Row(
            name="BatchNorm",
            status="ok",
            finding=f"{count(layers, 'layer')} with statistics of the training data",
            advice=advice,
        )
    return Row(
        name="BatchNorm",
        status="warn",
        finding="none",
        advice=(
            "The BN loss is off: the network stores no statistics of its data. Images will look"
            " less natural."
        ),
    )


def _is_untrained(norm: nn.Module) -> bool:
    """Whether a BatchNorm layer has seen no data."""
    mean, var = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    return not mean.any() and bool((var == 1).all())


def cost(teacher: Teacher, sides: tuple[int, ...]) -> Row:
    """Three real generator steps per resolution, smallest first; only one if steps are slow."""
    entries, seconds_left, last = [], MAX_SECONDS, None
    for side in sorted(sides):
        if last and last[1] * (side / last[0]) ** 2 * probes.STEPS > seconds_left:
            entries.append(f"{side}: about {last[1] * (side / last[0]) ** 2:.2g} s (estimated)")
            continue
        try:
            measured = probes.cost(teacher, side)
        except Diverged as error:
            return Row(
                name="cost",
                status="fail",
                finding=f"a step at {side} × {side} failed: {error}",
                advice="Check the normalization.",
            )
        except (RuntimeError, MemoryError) as error:
            if last is None:
                advice = "Use smaller --resolutions, or a machine with more memory."
                return Row(
                    name="cost",
                    status="fail",
                    finding=f"a step at {side} × {side} failed: {short_message(error)}",
                    advice=advice,
                )
            entries.append(f"{side}: not possible here ({short_message(error)})")
            continue
        last, seconds_left = (
            (side, measured.seconds),
            seconds_left - measured.seconds * probes.STEPS,
        )
        entries.append(
            f"{side}: {measured.seconds:.2g} s"
            + (f", {measured.memory / 2**20:,.0f} MB at most" if measured.memory else "")
        )
    finding = (
        f"one generator step with {probes.BATCH} images on this processor, by resolution:"
        f" {'; '.join(entries)}"
    )
    return Row(
        name="cost",
        status="ok",
        finding=finding,
        advice="The recipe field 'generator_steps' sets how many steps a batch of images takes.",
    )
