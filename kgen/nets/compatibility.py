"""Checks, without real data, whether a network follows timm's convention at a given side, as
teachers and students need.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kgen.nets.network import Network
from kgen.nets.vit import classify

NEEDS = ("forward_features", "forward_head", "get_classifier")


class _Probe(nn.Module):
    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.network.forward_features(x)
        return features, *classify(self.network, features)


def incompatibility(network: Network, channels: int, classes: int | None, side: int) -> str | None:
    """Why a network cannot be used, as the end of a sentence; None if it can.

    `classes`: how many logits it must return; None for any number.

    Weights and training mode stay unchanged; nothing is computed, so this takes a fraction of a
    second regardless of size.
    """
    if missing := [name for name in NEEDS if not hasattr(network, name)]:
        return f"it has no {missing[0]}()"
    if any(isinstance(m, nn.RNNBase) for m in network.modules()):
        # torch unrolls recurrent layers step by step, which takes a minute; timm's few recurrent
        # networks follow the convention
        return None
    was_training, probe = network.training, _Probe(network).eval()
    state = {name: t.to("meta") for name, t in (*probe.named_parameters(), *probe.named_buffers())}
    try:
        with torch.no_grad():
            features, logits, embedding = torch.func.functional_call(
                probe, state, (torch.empty(2, channels, side, side, device="meta"),)
            )
    except AttributeError:
        return "its forward_features() does not return a single tensor"
    except Exception as error:  # an unknown network can raise anything about sizes
        return (
            f"it does not accept images of {side} × {side} pixels"
            f" ({str(error).partition(chr(10))[0].strip().rstrip('.')})"
        )
    finally:
        network.train(was_training)
    if not isinstance(features, Tensor):
        return "its forward_features() returns several maps, not just the last one"
    wanted = (2, logits.shape[-1] if classes is None else classes)
    if logits.shape != wanted or embedding.ndim != 2:
        return (
            f"it returns logits {tuple(logits.shape)} and an embedding {tuple(embedding.shape)} for"
            f" two images and {classes} classes"
        )
    return None
