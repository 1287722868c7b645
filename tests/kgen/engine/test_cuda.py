"""On a GPU: every source learns in both precisions, and no step waits for the GPU. The same bodies
run on the CPU, so that nothing here is untested without a GPU.
"""

from __future__ import annotations

import pytest
import torch

from kgen import precision
from kgen.engine.engine import Distillation
from kgen.engine.synthesis import Synthesis
from kgen.precision import Format
from tests.support.small import mini

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, NO_GPU])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
@pytest.mark.parametrize("source", ["noise", "latent", "pixels", "pyramid"])
def test_every_source_learns_without_waiting(device, kind, source):
    recipe = mini(source=source, device=device, generator_steps=4, report_every=4)
    d = Distillation(recipe, formats=dict.fromkeys(precision.NETWORKS, Format(kind)))
    synthesis = Synthesis(d.setting, d.state, None)
    synthesis.step()
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        synthesis.step()
        synthesis.step()
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    report = synthesis.step()
    assert synthesis.images.device.type == device
    assert report is not None and torch.isfinite(torch.tensor(report["loss"]))
