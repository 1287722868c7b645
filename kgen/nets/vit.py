"""Vision transformers: images with any number of patches, and the attention of [CLS] (A.1).

A network for whole images receives smaller ones: fewer patches, with position embeddings from a
contiguous window of its own grid. Independent of teachers, students and losses. timm is imported
only when a network is built, because that takes seconds and imports torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgen import precision
from kgen.nets.network import Network

if TYPE_CHECKING:
    from timm.models.vision_transformer import Attention, Block, VisionTransformer

Corner = tuple[int, int]
"""Row and column, in the network's grid, of the window's first position embedding."""


class WindowedViT(Network):
    """A timm VisionTransformer (ViT, DeiT, distilled DeiT) for images of any side divisible by its
    patch.

    Follows timm's convention: forward_features, forward_head(pre_logits=…), get_classifier.

    Args:
        vit: with a class token, learned position embeddings, and blocks that attend to norm1(x).
    Raises ValueError for another kind of network.
    """

    def __init__(self, vit: VisionTransformer):
        super().__init__()
        if (missing := _missing_requirement(vit)) is not None:
            raise ValueError(
                f"{type(vit).__name__} has no {missing}: expected a timm VisionTransformer with a"
                " class token."
            )
        self.vit = vit
        self.num_features = vit.num_features
        self.patch: int = vit.patch_embed.patch_size[0]
        """P: side of a patch in pixels."""
        rows, columns = vit.patch_embed.grid_size
        self.grid: tuple[int, int] = rows, columns
        """Rows and columns of position embeddings."""

    def forward_features(self, x: Tensor, corner: Corner | None = None) -> Tensor:
        """[B,c,h·P,w·P] → tokens [B,prefix+h·w,d] after the last norm; `corner` as in `window`."""
        tokens, _ = self._embed(x, corner)
        for block in self.vit.blocks:
            tokens = block(tokens)
        return self.vit.norm(tokens)

    def forward_with_attention(
        self, x: Tensor, corner: Corner | None = None
    ) -> tuple[Tensor, Tensor]:
        """[B,c,h·P,w·P] → tokens [B,prefix+h·w,d] and attention [B,h,w].

        The attention is that of [CLS] to the patches in the last block, averaged over heads, times
        the number of patches: 1 everywhere if it is uniform and none goes to prefix tokens.
        """
        tokens, (h, w) = self._embed(x, corner)
        *first, last = cast("Sequence[Block]", self.vit.blocks)
        for block in first:
            tokens = block(tokens)
        prefix = self.vit.num_prefix_tokens
        heads = class_attention(cast("Attention", last.attn), last.norm1(tokens))
        attention = heads.mean(1)[:, prefix:] * (h * w)
        return self.vit.norm(last(tokens)), attention.unflatten(1, (h, w))

    def spatial(self, tokens: Tensor, side: int) -> Tensor:
        """Tokens [B,prefix+h·w,d] of images `side` pixels high → patch tokens as a map
        [B,d,h,w].
        """
        return (
            tokens[:, self.vit.num_prefix_tokens :]
            .transpose(1, 2)
            .unflatten(2, (side // self.patch, -1))
        )

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens → embedding [B,d] (`pre_logits`) or logits [B,K]."""
        return self.vit.forward_head(features, pre_logits=pre_logits)

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]:
        return self.vit.get_classifier()

    def forward(self, x: Tensor, corner: Corner | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, corner))

    def window(self, h: int, w: int, corner: Corner | None = None) -> Tensor:
        """Position embeddings of an h×w window [1,h·w,d]; without a corner, the central one.

        ValueError if it does not fit.
        """
        rows, columns = self.grid
        if h > rows or w > columns:
            raise ValueError(
                f"Images have {h} × {w} patches, but the network's grid has {rows} × {columns};"
                " make them smaller."
            )
        top, left = ((rows - h) // 2, (columns - w) // 2) if corner is None else corner
        if not (0 <= top <= rows - h and 0 <= left <= columns - w):
            raise ValueError(
                f"A window of {h} × {w} patches at {(top, left)} exceeds the network's grid of"
                f" {rows} × {columns}."
            )
        table = self.positions[:, -rows * columns :].unflatten(1, self.grid)
        return table[:, top : top + h, left : left + w].flatten(1, 2)

    @property
    def positions(self) -> Tensor:
        """The position embeddings, those of prefix tokens first: [1,prefix+rows·columns,d]."""
        table = self.vit.pos_embed
        assert table is not None  # `_missing_requirement` has checked
        return table

    def _embed(self, x: Tensor, corner: Corner | None) -> tuple[Tensor, tuple[int, int]]:
        """Images → the first block's input, and rows and columns of patches."""
        vit, p = self.vit, self.patch
        if x.shape[2] % p or x.shape[3] % p:
            raise ValueError(
                f"Images of {x.shape[2]} × {x.shape[3]} pixels cannot be cut into patches of {p} ×"
                f" {p}; use multiples of {p}."
            )
        patches = vit.patch_embed.proj(x)
        h, w = patches.shape[2:]
        patches = vit.patch_embed.norm(patches.flatten(2).transpose(1, 2)) + self.window(
            h, w, corner
        )
        prefix_tokens = [
            t
            for name in ("cls_token", "dist_token", "reg_token")
            if (t := getattr(vit, name, None)) is not None
        ]
        prefix = torch.cat(prefix_tokens, 1)
        if not vit.no_embed_class:
            prefix = prefix + self.positions[:, : prefix.shape[1]]
        tokens = torch.cat([prefix.expand(x.shape[0], -1, -1), patches], 1)
        return vit.norm_pre(vit.patch_drop(vit.pos_drop(tokens))), (h, w)


def class_attention(attention: Attention, x: Tensor) -> Tensor:
    """The first token's attention: x [B,N,d] at the input of timm's `attention` → [B,heads,N].

    Each row sums to 1. Computed separately from the block, which can keep its fused attention: this
    needs only one row and no hook.
    """
    wq, wk, _ = attention.qkv.weight.chunk(3)
    bq, bk, _ = (None,) * 3 if attention.qkv.bias is None else attention.qkv.bias.chunk(3)
    heads = attention.num_heads
    q = attention.q_norm(F.linear(x[:, :1], wq, bq).unflatten(2, (heads, -1)).transpose(1, 2))
    k = attention.k_norm(F.linear(x, wk, bk).unflatten(2, (heads, -1)).transpose(1, 2))
    return (q * attention.scale @ k.transpose(2, 3)).softmax(-1)[:, :, 0]


def _is_timm_vit(network: nn.Module) -> TypeGuard[VisionTransformer]:
    """Compares class names, so that timm need not be imported."""
    class_names = {f"{c.__module__}.{c.__name__}" for c in type(network).__mro__}
    return "timm.models.vision_transformer.VisionTransformer" in class_names


def _missing_requirement(network: nn.Module) -> str | None:
    """The first requirement of a WindowedViT that `network` lacks."""
    if not _is_timm_vit(network) or network.cls_token is None:
        return "class token"
    if network.pos_embed is None:
        return "learned position embeddings"
    if (
        type(network.patch_embed).__name__ != "PatchEmbed"
        or len(set(network.patch_embed.patch_size)) > 1
    ):
        return "square patches cut from the image itself"
    standard_blocks = all(
        type(b).__name__ == "Block" and type(b.attn).__name__ == "Attention" for b in network.blocks
    )
    return None if standard_blocks and len(network.blocks) else "plain attention blocks"


def windowed(network: Network) -> Network:
    """The network itself, or a WindowedViT around it if it is a suitable transformer.
    Idempotent.
    """
    return (
        WindowedViT(network)
        if _is_timm_vit(network) and not _missing_requirement(network)
        else network
    )


def small_vit(
    channels: int = 1,
    classes: int = 10,
    *,
    side: int = 28,
    patch: int = 4,
    dim: int = 48,
    depth: int = 4,
    heads: int = 2,
) -> WindowedViT:
    """Our own small ViT: `depth` blocks of width `dim` on (side/patch)² patches, MLPs twice as
    wide; `dim` is a multiple of 4.

    Position embeddings are initialized as sinusoids, and weights as in MoCo v3: timm's usual N(0,
    0.02²) is far too small at this width. After half an epoch on Fashion-MNIST, sinusoids gave 66%
    instead of 57%, and the weights added 4 points.
    """
    from timm.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(
        side,
        patch,
        channels,
        classes,
        embed_dim=dim,
        depth=depth,
        num_heads=heads,
        mlp_ratio=2.0,
        weight_init="moco",
    )
    network = WindowedViT(vit)
    network.positions.data[0, 1:] = 0.5 * sinusoidal_positions(side // patch, dim)
    return network


def sinusoidal_positions(n: int, dim: int) -> Tensor:
    """Sines and cosines of column and row of an n×n grid, wavelengths from 2π to 200π cells. →
    [n²,dim].
    """
    frequency = 100 ** -torch.linspace(0, 1, dim // 4)
    y, x = (
        c.flatten()[:, None] * frequency
        for c in torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    )
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], 1)


# --- low resolution ------------------------------------------------------------------------------


def corner_probabilities(grid: tuple[int, int], decay: float) -> Tensor:
    """P(p) ∝ 1/(1 + λ‖p − center‖²) over the whole grid of window centers p (A.1).

    → [rows,columns] f64, sums to 1.
    """
    y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in grid)
    weight = 1 / (1 + decay * (y[:, None] ** 2 + x[None, :] ** 2))
    return weight / weight.sum()


def draw_corner(network: nn.Module, side: int, decay: float, rng: torch.Generator) -> Corner | None:
    """Top-left of a random window of position embeddings for images of `side` pixels.

    None for a CNN or a whole grid. The window is centered at the drawn position and moved inside
    the grid if necessary. ValueError for a side that is not a multiple of the patch or exceeds the
    grid.
    """
    if not isinstance(network, WindowedViT):
        return None
    n = side // network.patch
    network.window(n, n)  # raises if it does not fit
    if side % network.patch:
        raise ValueError(
            f"A side of {side} pixels cannot be cut into patches of {network.patch}; use a multiple"
            f" of {network.patch}."
        )
    if network.grid == (n, n):
        return None
    p = int(
        torch.multinomial(corner_probabilities(network.grid, decay).flatten(), 1, generator=rng)
    )
    top, left = (
        min(max(c - n // 2, 0), size - n)
        for c, size in zip(divmod(p, network.grid[1]), network.grid)
    )
    return top, left


# --- any network ---------------------------------------------------------------------------------


def side_multiple(network: nn.Module) -> int:
    """Image sides must be multiples of this: the patch of a WindowedViT, 1 for other networks."""
    return network.patch if isinstance(network, WindowedViT) else 1


def embedding_width(network: Network) -> int:
    """d of `forward_with_embedding`."""
    head = network.get_classifier()
    return head.in_features if isinstance(head, nn.Linear) else network.num_features


def forward_with_embedding(
    network: Network, x: Tensor, corner: Corner | None = None
) -> tuple[Tensor, Tensor]:
    """Logits [B,K] and embedding [B,d] of a network with timm's convention.

    x [B,c,e,e] is already normalized. `corner` is for transformers; a CNN ignores it.
    """
    extra = (corner,) if isinstance(network, WindowedViT) else ()
    return classify(network, precision.apply(network, network.forward_features, x, *extra))


def classify(network: Network, features: Tensor) -> tuple[Tensor, Tensor]:
    """Output of forward_features → logits [B,K] and embedding [B,d].

    Pools only once if the classifier is a single Linear.
    """
    embedding = network.forward_head(features, pre_logits=True)
    classifier = network.get_classifier()
    return (
        classifier(embedding)
        if isinstance(classifier, nn.Linear)
        else network.forward_head(features)
    ), embedding
