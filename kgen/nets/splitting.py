"""Gives timm's methods to any classifier that ends in a Linear, by splitting it at its last spatial
map.

The split comes from tracing the forward pass with torch.fx. A network that cannot be traced, or
that has no map through which everything flows, is split before its last Linear instead; then there
is no map, and the key region is off. It does not matter where the network comes from.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kgen.nets.network import Network

TRIED = 3
"""How many images a network is tried on."""


class NotSplittable(ValueError):
    """Why a network cannot be split, as the end of a sentence."""


class SplitNetwork(Network):
    """A network with only a forward pass, split into map, embedding, and logits.

    Args:
        network: it ends in a Linear whose outputs are the logits; a softmax after it is left out.
        channels, side: of the images that it is tried on.
    Raises NotSplittable.
    """

    def __init__(self, network: nn.Module, channels: int, side: int):
        super().__init__()
        self.network = network.eval()
        self._tried = (channels, side)
        noise = _noise(channels, side)
        self._classifier = _last_linear(network, noise)
        if not _ends_after(network, self._classifier, noise, _unlike_new(network)):
            raise NotSplittable(_ENDS_LATER.format(self._classifier))
        self.num_features = self.get_classifier().in_features
        self._plan = _Plan.find(network, self._classifier, noise)

    def verify(self) -> None:
        """Call this once the weights are loaded, because what a network does can depend on them.
        Raises NotSplittable.
        """
        parameter = next(self.network.parameters())
        if not _ends_after(self.network, self._classifier, _noise(*self._tried).to(parameter)):
            raise NotSplittable(_ENDS_LATER.format(self._classifier))

    def get_classifier(self) -> nn.Linear:
        layer = self.network.get_submodule(self._classifier)
        assert isinstance(layer, nn.Linear)
        return layer

    def forward_features(self, x: Tensor) -> Tensor:
        if self._plan is None:
            return _capture(self.network, self.get_classifier(), x)[0]
        return self._plan.features(self.network, x)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        embedding = features if self._plan is None else self._plan.head(self.network, features)
        return embedding if pre_logits else self.get_classifier()(embedding)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


_ENDS_LATER = (
    "its logits are not the outputs of its last Linear layer ({!r}), because something with trained"
    " values of its own, such as a BatchNorm, a bias, or a temperature, may follow it"
)


def _noise(channels: int, side: int) -> Tensor:
    return torch.rand(TRIED, channels, side, side, generator=torch.Generator().manual_seed(0))


def _capture(network: nn.Module, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer received in a forward pass, and the network's output."""
    received: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
    try:
        output = network(x)
    finally:
        hook.remove()
    return received[-1], output


@torch.no_grad()
def _last_linear(network: nn.Module, x: Tensor) -> str:
    """Name of the Linear whose outputs are the logits."""
    order: list[str] = []
    hooks = [
        layer.register_forward_hook(lambda *_, name=name: order.append(name))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        network(x)
    except Exception as error:  # an unknown network can raise anything about sizes
        reason = str(error).partition("\n")[0].strip().rstrip(".")[:150]
        raise NotSplittable(
            f"it does not accept images of {x.shape[2]} × {x.shape[3]} with {x.shape[1]} channels"
            f" ({reason}); specify the size of its images with --side"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        raise NotSplittable("it has no Linear layer, so its classifier is unknown")
    layer = network.get_submodule(order[-1])
    embedding, output = _capture(network, layer, x)
    if not isinstance(output, Tensor) or output.ndim != 2 or embedding.ndim != 2:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise NotSplittable(
            f"its forward() returns {found} for {TRIED} images; expected logits ({TRIED}, number of"
            " classes)"
        )
    return order[-1]


def _unlike_new(network: nn.Module) -> dict[str, Tensor]:
    """Values for all parameters and buffers with which no layer is the identity, unlike a new
    BatchNorm, bias, or temperature. Variances stay positive.
    """
    generator = torch.Generator().manual_seed(0)
    return {
        name: t * (0.5 + torch.rand(t.shape, generator=generator).to(t))
        + (0.1 + 0.2 * torch.rand(t.shape, generator=generator).to(t))
        for name, t in (*network.named_parameters(), *network.named_buffers())
        if t.is_floating_point()
    }


@torch.no_grad()
def _ends_after(
    network: nn.Module, classifier: str, x: Tensor, values: dict[str, Tensor] | None = None
) -> bool:
    """Whether the outputs of a layer are the network's logits, or it returns their softmax.

    The layer returns made-up logits here, so the size of its weights does not matter. `values`
    replace the network's own.
    """
    logits: list[Tensor] = []

    def replace(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        logits.append(torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(x))
        return logits[-1]

    hook = network.get_submodule(classifier).register_forward_hook(replace)
    try:
        output = torch.func.functional_call(network, values or {}, (x,))
    finally:
        hook.remove()
    return any(
        output.shape == logits[-1].shape and torch.allclose(output, last(logits[-1]), 1e-4, 1e-5)
        for last in (lambda z: z, lambda z: F.softmax(z, 1), lambda z: F.log_softmax(z, 1))
    )


class _Plan(NamedTuple):
    """How to run a traced network in two parts. Nothing in it changes, so copies share it."""

    graph: fx.Graph
    before: tuple[fx.Node, ...]
    """From the images to the map, the last one."""
    after: tuple[fx.Node, ...] = ()
    """From the map to the embedding, the last one."""
    counts: tuple[fx.Node, ...] = ()
    """Nodes before the map that hold the number of images and are used after it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Plan:
        return self

    def features(self, network: nn.Module, x: Tensor) -> Tensor:
        return self._run(network, self.before, {self.before[0]: x})[self.before[-1]]

    def head(self, network: nn.Module, features: Tensor) -> Tensor:
        known = dict.fromkeys(self.counts, len(features)) | {self.before[-1]: features}
        return self._run(network, self.after, known)[self.after[-1]]

    def _run(
        self, network: nn.Module, nodes: tuple[fx.Node, ...], env: dict[fx.Node, Any]
    ) -> dict[fx.Node, Any]:
        interpreter = fx.Interpreter(network, garbage_collect_values=False, graph=self.graph)
        interpreter.env = env
        for node in nodes:
            if node not in env:
                env[node] = interpreter.run_node(node)
        return env

    @classmethod
    @torch.no_grad()
    def find(cls, network: nn.Module, classifier: str, x: Tensor) -> _Plan | None:
        """Split at the last map through which everything flows; None without one."""
        try:
            options = inspect.signature(network.forward).parameters.values()
            graph = fx.Tracer().trace(
                network, {o.name: o.default for o in options if o.default is not o.empty}
            )
            layer = [node for node in graph.nodes if node.target == classifier][-1]
            nodes = _needed(graph, layer.all_input_nodes[0])
            values = cls(graph, nodes)._run(network, nodes, {nodes[0]: x})
            for i in reversed(range(1, len(nodes))):
                if _is_map(values[nodes[i]], x):
                    before, behind = nodes[: i + 1], nodes[i + 1 :]
                    weights = tuple(n for n in before if n.op == "get_attr")
                    counts = tuple(n for n in before if type(values[n]) is int)
                    if all({*n.all_input_nodes} <= {*nodes[i:], *weights, *counts} for n in behind):
                        plan = cls(graph, before, (*weights, *behind), counts)
                        two = plan.head(network, values[nodes[i]][:2])
                        if torch.allclose(two, values[nodes[-1]][:2], 1e-4, 1e-5):
                            return plan
        except Exception:  # control flow that depends on values cannot be traced
            return None
        return None


def _is_map(value: Any, images: Tensor) -> bool:
    """Whether a value has one position for each part of the images, and is not just the images."""
    return (
        isinstance(value, Tensor)
        and value.ndim == 4
        and len(value) == len(images)
        and value.shape[2:].numel() > 1
        and value.shape[1:] != images.shape[1:]
    )


def _needed(graph: fx.Graph, end: fx.Node) -> tuple[fx.Node, ...]:
    """The nodes that a node depends on, and itself, in the order in which they run."""
    needed, waiting = {end}, [end]
    while waiting:
        new = set(waiting.pop().all_input_nodes) - needed
        needed |= new
        waiting += new
    return tuple(node for node in graph.nodes if node in needed)
