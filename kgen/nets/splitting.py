"""Gives timm's methods to any classifier that ends in a Linear, by splitting it at its last spatial
map.

The split comes from tracing the forward pass with torch.fx. Branches are followed if they depend
only on the sizes of the images, and checked whenever it runs. A network that cannot be traced, or
whose forward pass does not go through a single map, is split before its last Linear instead; then
there is no map, and the key region is off. It does not matter where the network comes from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kgen.nets.network import Network
from kgen.phrases import count

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
        self._plan: _Plan | None = None
        self.no_map = ""
        """Why there is no map, as the end of a sentence; empty if there is one."""
        try:
            self._plan = _Plan.find(network, self._classifier, noise)
        except Exception as error:  # a forward pass can contain anything
            reason = str(error).partition("\n")[0].strip().rstrip(".")[:150]
            self.no_map = f"its forward pass cannot be traced ({reason})"
        else:
            if self._plan is None:
                self.no_map = "its forward pass does not go through a single map"

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
    "its logits are not the outputs of its last Linear layer ({!r}): something with its own"
    " parameters, such as a BatchNorm, a bias, or a temperature, may follow that layer"
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
            f"it does not accept images of {x.shape[2]} × {x.shape[3]} with"
            f" {count(x.shape[1], 'channel')}"
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


class _Tracer(fx.Tracer):
    """At branches that depend on sizes, takes the one that the trial images take."""

    def __init__(self, x: Tensor):
        super().__init__()
        self.x = x
        self.branches: dict[fx.Node, bool] = {}

    def to_bool(self, obj: fx.Proxy) -> bool:
        node = obj.node
        nodes = _needed(self.graph, [node])
        start = {n: self.x for n in nodes if n.op == "placeholder"}
        value = _run(self.root, self.graph, nodes, start, {node})[node]
        if not isinstance(value, int):  # it depends on the images themselves
            return super().to_bool(obj)
        return self.branches.setdefault(node, bool(value))


def _run(
    network: nn.Module,
    graph: fx.Graph,
    nodes: Sequence[fx.Node],
    env: dict[fx.Node, Any],
    keep: Collection[fx.Node],
    on_value: Callable[[fx.Node, Any], None] = lambda node, value: None,
) -> dict[fx.Node, Any]:
    """Run nodes that `env` has no value for yet. Each value is freed after its last use unless it
    is to be kept.
    """
    interpreter = fx.Interpreter(network, garbage_collect_values=False, graph=graph)
    interpreter.env = env
    last_use = {used: node for node in nodes for used in node.all_input_nodes}
    for node in nodes:
        if node not in env:
            env[node] = interpreter.run_node(node)
        on_value(node, env[node])
        for used in node.all_input_nodes:
            if last_use[used] is node and used not in keep:
                env.pop(used, None)
    return env


class _Plan(NamedTuple):
    """How to run a traced network in two parts. Copies of the network share it."""

    graph: fx.Graph
    branches: dict[fx.Node, bool]
    """Conditions on sizes that the traced forward pass depends on."""
    before: tuple[fx.Node, ...]
    """From the images to the map, the last one."""
    after: tuple[fx.Node, ...]
    """From the map to the embedding, the last one."""
    sizes: dict[fx.Node, bool]
    """Nodes before the map that hold sizes and are used after it; whether they are proportional to
    the number of images.
    """
    seen: dict[tuple[int, ...], dict[fx.Node, Any]]
    """Their values (for one image, where proportional) by the size of the map."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Plan:
        return self

    def features(self, network: nn.Module, x: Tensor) -> Tensor:
        start, end = {self.before[0]: x}, self.before[-1]
        env = _run(network, self.graph, self.before, start, {end, *self.sizes}, self._check)
        self.seen[tuple(env[end].shape[1:])] = {
            node: env[node] // len(x) if proportional else env[node]
            for node, proportional in self.sizes.items()
        }
        return env[end]

    def head(self, network: nn.Module, features: Tensor) -> Tensor:
        seen = self.seen[tuple(features.shape[1:])]
        start = {
            node: seen[node] * len(features) if proportional else seen[node]
            for node, proportional in self.sizes.items()
        }
        start[self.before[-1]] = features
        end = self.after[-1]
        return _run(network, self.graph, self.after, start, {end}, self._check)[end]

    def _check(self, node: fx.Node, value: Any) -> None:
        if node in self.branches and bool(value) is not self.branches[node]:
            raise ValueError("at this size, the forward pass takes a different branch")

    @classmethod
    @torch.no_grad()
    def find(cls, network: nn.Module, classifier: str, x: Tensor) -> _Plan | None:
        """Split at the last map that the whole forward pass goes through; None if there is none.

        Raises whatever tracing raises.
        """
        options = inspect.signature(network.forward).parameters.values()
        tracer = _Tracer(x)
        graph = tracer.trace(
            network, {o.name: o.default for o in options if o.default is not o.empty}
        )
        end = [node for node in graph.nodes if node.target == classifier][-1].all_input_nodes[0]
        nodes = _needed(graph, [end, *tracer.branches])
        nodes = nodes[: nodes.index(end) + 1]
        maps: set[fx.Node] = set()
        sizes: list[dict[fx.Node, Any]] = []  # for all images, and for two
        for images in (x, x[:2]):
            found: dict[fx.Node, Any] = {}

            def on_value(node: fx.Node, value: Any) -> None:
                if not isinstance(value, Tensor):
                    found[node] = value  # noqa: B023 (called in this iteration)
                elif _is_map(value, images):  # noqa: B023
                    maps.add(node)

            env = _run(network, graph, nodes, {nodes[0]: images}, {end}, on_value)
            sizes.append(found)
        for i in reversed(range(1, len(nodes))):
            if nodes[i] not in maps or nodes[i] is end:
                continue
            early, moved = {*nodes[:i]}, []
            for node in nodes[i + 1 :]:  # sizes that are computed late, but not from the map
                if node in sizes[0] and node.all_input_nodes and early >= {*node.all_input_nodes}:
                    early.add(node)
                    moved.append(node)
            before = (*nodes[:i], *moved, nodes[i])
            behind = tuple(n for n in nodes[i + 1 :] if n not in early)
            weights = tuple(n for n in before if n.op == "get_attr")
            needed = {used for n in behind for used in n.all_input_nodes}
            needed -= {nodes[i], *behind, *weights}
            if any(_proportional(*(s.get(n) for s in sizes)) is None for n in needed):
                continue
            used = {n: bool(_proportional(*(s[n] for s in sizes))) for n in needed}
            plan = cls(graph, tracer.branches, before, (*weights, *behind), used, {})
            embedding = plan.head(network, plan.features(network, x)[:2])
            if torch.allclose(embedding, env[end], 1e-4, 1e-5):
                return plan
        return None


def _proportional(all_images: Any, two: Any) -> bool | None:
    """Whether a size is proportional to the number of images; None if it is neither
    proportional nor constant.
    """
    if all_images is None or isinstance(all_images, Tensor):
        return None
    if all_images == two:
        return False
    return True if type(two) is int and all_images * 2 == two * TRIED else None


def _is_map(value: Any, images: Tensor) -> bool:
    """Whether a value is a spatial map rather than the images themselves."""
    return (
        isinstance(value, Tensor)
        and value.ndim == 4
        and len(value) == len(images)
        and value.shape[2:].numel() > 1
        and value.shape[1:] != images.shape[1:]
    )


def _needed(graph: fx.Graph, ends: Sequence[fx.Node]) -> tuple[fx.Node, ...]:
    """The given nodes and all nodes that they depend on, in execution order."""
    needed, waiting = {*ends}, [*ends]
    while waiting:
        new = set(waiting.pop().all_input_nodes) - needed
        needed |= new
        waiting += new
    return tuple(node for node in graph.nodes if node in needed)
