"""The windowed ViT against timm's own forward pass, its attention against the whole matrix, its
windows against their formula.
"""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from kgen.nets import vit
from kgen.nets.small_cnn import SmallResNet, seeded
from kgen.zoo import zoo

KINDS = {
    "plain": {},
    "registers": {"reg_tokens": 3, "no_embed_class": True},
    "registers with positions": {"reg_tokens": 2},
    "pooled, normed twice": {
        "global_pool": "avg",
        "pre_norm": True,
        "qk_norm": True,
        "qkv_bias": False,
        "init_values": 0.5,
    },
    "distilled": {},
}


def make(kind: str, side: int = 20) -> torch.nn.Module:
    """A tiny transformer in double precision whose every parameter matters (timm starts some at
    zero).
    """
    build = VisionTransformerDistilled if kind == "distilled" else VisionTransformer
    network = seeded(
        build,
        0,
        img_size=side,
        patch_size=4,
        in_chans=2,
        num_classes=3,
        embed_dim=12,
        depth=2,
        num_heads=3,
        **KINDS[kind],
    )
    rng = torch.Generator().manual_seed(5)
    for p in network.parameters():
        p.data = p.data.double() + 0.3 * torch.randn(p.shape, generator=rng, dtype=torch.float64)
    return network.eval()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def network(kind):
    return make(kind)


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@torch.no_grad()
def test_whole_images_go_as_through_timm(network, rng):
    x = torch.randn(2, 2, 20, 20, generator=rng, dtype=torch.float64)
    windowed = vit.windowed(network)
    torch.testing.assert_close(windowed.forward_features(x), network.forward_features(x))
    torch.testing.assert_close(windowed(x), network(x))
    logits, embedding = vit.forward_with_embedding(windowed, x)
    torch.testing.assert_close(logits, network(x))
    torch.testing.assert_close(
        embedding, network.forward_head(network.forward_features(x), pre_logits=True)
    )


@pytest.mark.parametrize(("corner", "at"), [((0, 3), (0, 3)), ((2, 1), (2, 1)), (None, (1, 1))])
@torch.no_grad()
def test_a_window_is_a_smaller_network_with_these_positions(kind, network, corner, at, rng):
    """Oracle: timm's own network for images of 2 × 2 patches, given row by row the positions that
    the window holds.
    """
    small, prefix = make(kind, side=8), network.pos_embed.shape[1] - 25
    state = dict(network.state_dict())
    rows = [
        network.pos_embed[0, prefix + 5 * (at[0] + y) + at[1] + x]
        for y in range(2)
        for x in range(2)
    ]
    state["pos_embed"] = torch.cat([network.pos_embed[:, :prefix], torch.stack(rows)[None]], 1)
    small.load_state_dict(state)
    x = torch.randn(2, 2, 8, 8, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(vit.windowed(network)(x, corner), small(x))


@pytest.mark.parametrize("size", [(20, 20), (8, 16)])
def test_attention_is_the_first_row_of_all_of_it(network, size, rng):
    """Oracle: the last block's whole attention matrix, captured at the dropout of timm's unfused
    attention.
    """
    x = torch.randn(2, 2, *size, generator=rng, dtype=torch.float64, requires_grad=True)
    windowed, caught = vit.windowed(network), []
    with torch.no_grad():
        fused = windowed.forward_features(x)
    _, attention = windowed.forward_with_attention(x)
    last = network.blocks[-1].attn
    last.fused_attn = False
    last.attn_drop.register_forward_hook(lambda _module, inputs, _output: caught.append(inputs[0]))
    torch.testing.assert_close(windowed.forward_features(x), fused)
    h, w, prefix = size[0] // 4, size[1] // 4, network.num_prefix_tokens
    slow = (
        torch.stack(
            [sum(caught[0][b, head, 0, prefix:] for head in range(3)) / 3 for b in range(2)]
        ).reshape(2, h, w)
        * h
        * w
    )
    torch.testing.assert_close(attention, slow)
    weights = torch.randn(2, h, w, generator=rng, dtype=torch.float64)
    mine, theirs = (
        torch.autograd.grad((weights * a).sum(), x, retain_graph=True)[0] for a in (attention, slow)
    )
    assert mine.abs().max() > 1e-6
    torch.testing.assert_close(mine, theirs)


def test_uniform_attention_is_one_but_for_the_prefix():
    network = vit.small_vit(dim=8, depth=1, heads=2, side=12)
    with torch.no_grad():
        network.vit.blocks[-1].attn.qkv.weight.zero_()
        _, attention = network.forward_with_attention(torch.zeros(1, 1, 12, 12))
    torch.testing.assert_close(attention, torch.full((1, 3, 3), 9 / 10))


def test_positions_start_as_waves():
    table = vit.small_vit(dim=16, depth=1, heads=2, side=12).vit.pos_embed
    for y in range(3):
        for x in range(3):
            for i in range(4):
                f = 100 ** (-i / 3)
                slow = [
                    0.5 * v
                    for v in (math.sin(f * x), math.cos(f * x), math.sin(f * y), math.cos(f * y))
                ]
                assert table[0, 1 + 3 * y + x, i::4].tolist() == pytest.approx(slow, abs=1e-6)


def test_patch_tokens_as_a_map_keep_their_places(rng):
    tokens = torch.randn(2, 1 + 2 * 3, 8, generator=rng)
    grid = vit.small_vit(dim=8, depth=1, heads=2, side=12).spatial(tokens, 8)
    assert grid.shape == (2, 8, 2, 3)
    for y in range(2):
        for x in range(3):
            assert torch.equal(grid[:, :, y, x], tokens[:, 1 + 3 * y + x])


# --- windows at random ----------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "decay"), [(12, 0.1), (8, 2.0), (4, 0.0)])
def test_corners_come_as_often_as_the_formula_says(side, decay, rng):
    """P(p) ∝ 1/(1 + λ‖p − center‖²) over 7 × 7 centers; a window that sticks out is moved inside
    (A.1).
    """
    network, n, draws = vit.small_vit(dim=8, depth=1, heads=2), side // 4, 3000
    expected, total = (
        {},
        sum(1 / (1 + decay * ((y - 3) ** 2 + (x - 3) ** 2)) for y in range(7) for x in range(7)),
    )
    for y in range(7):
        for x in range(7):
            corner = tuple(min(max(c - n // 2, 0), 7 - n) for c in (y, x))
            expected[corner] = expected.get(corner, 0) + draws / total / (
                1 + decay * ((y - 3) ** 2 + (x - 3) ** 2)
            )
    found = dict.fromkeys(expected, 0)
    for _ in range(draws):
        found[vit.draw_corner(network, side, decay, rng)] += (
            1  # KeyError: a window that does not fit
        )
    chi2, free = sum((found[c] - e) ** 2 / e for c, e in expected.items()), len(expected) - 1
    assert abs(chi2 - free) < 4 * math.sqrt(2 * free)


def test_corners_depend_on_their_generator_alone():
    network, state = vit.small_vit(dim=8, depth=1, heads=2), torch.get_rng_state()
    draw = [
        [vit.draw_corner(network, 12, 0.1, g) for _ in range(20)]
        for g in (torch.Generator().manual_seed(s) for s in (1, 1, 2))
    ]
    assert draw[0] == draw[1] != draw[2] and torch.equal(torch.get_rng_state(), state)


def test_no_corner_where_there_is_no_choice(rng):
    state = rng.get_state()
    assert vit.draw_corner(vit.small_vit(dim=8, depth=1, heads=2), 28, 0.1, rng) is None
    assert vit.draw_corner(SmallResNet(width=4, blocks=(1, 1)), 12, 0.1, rng) is None
    assert torch.equal(rng.get_state(), state)


# --- bad input ------------------------------------------------------------------------------------


def test_images_that_do_not_fit_are_named(rng):
    network = vit.small_vit(dim=8, depth=1, heads=2)
    with pytest.raises(ValueError, match="10 × 12.* 4 × 4"):
        network(torch.zeros(1, 1, 10, 12))
    with pytest.raises(ValueError, match="8 × 8 .*7 × 7"):
        network(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match=r"3 × 3 .*\(5, 0\).* 7 × 7"):
        network(torch.zeros(1, 1, 12, 12), (5, 0))
    with pytest.raises(ValueError, match="side of 10 pixels"):
        vit.draw_corner(network, 10, 0.1, rng)
    with pytest.raises(ValueError, match="8 × 8 patches"):
        vit.draw_corner(network, 32, 0.1, rng)


def test_only_transformers_with_a_class_token_are_windowed():
    cnn = SmallResNet(width=4, blocks=(1, 1))
    tokenless = VisionTransformer(
        12, 4, 1, 3, embed_dim=8, depth=1, num_heads=2, class_token=False, global_pool="avg"
    )
    placeless = VisionTransformer(12, 4, 1, 3, embed_dim=8, depth=1, num_heads=2, pos_embed="none")
    windowed = vit.windowed(make("plain"))
    assert (
        vit.windowed(cnn) is cnn
        and vit.windowed(tokenless) is tokenless
        and vit.windowed(windowed) is windowed
    )
    assert [vit.side_multiple(n) for n in (cnn, windowed)] == [1, 4]
    for network, lack in (
        (cnn, "class token"),
        (tokenless, "class token"),
        (placeless, "learned position embeddings"),
    ):
        with pytest.raises(ValueError, match=lack):
            vit.WindowedViT(network)


# --- as students ----------------------------------------------------------------------------------


@torch.no_grad()
def test_look_at_a_cnn_is_its_own_forward(rng):
    network, x = (
        seeded(SmallResNet, 0, 1, 10, 4, (1, 1)).eval(),
        torch.randn(3, 1, 12, 12, generator=rng),
    )
    logits, embedding = vit.forward_with_embedding(network, x, None)
    assert torch.equal(logits, network(x))
    torch.testing.assert_close(embedding, network.forward_features(x).mean((2, 3)))


@pytest.mark.parametrize("name", ["resnet18", "deit_tiny_distilled_patch16_224"])
@torch.no_grad()
def test_the_embedding_is_as_wide_as_said(name):
    """A distilled DeiT has two heads, so its classifier is not a single Linear."""
    network = timm.create_model(name, num_classes=5).eval()
    embedding = vit.forward_with_embedding(network, torch.zeros(1, 3, 224, 224))[1]
    assert embedding.shape == (1, vit.embedding_width(network))


def test_a_vit_student_learns_at_low_resolution_and_its_copy_stays(rng):
    student = zoo.build_student("small-vit-20k", 1, 10, 0)
    copied = copy.deepcopy(student)
    x, labels = torch.randn(16, 1, 12, 12, generator=rng), torch.arange(16) % 10
    optimiser = torch.optim.AdamW(student.parameters(), 3e-3)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(
            vit.forward_with_embedding(student, x, (4, 0))[0], labels
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    fresh = zoo.build_student("small-vit-20k", 1, 10, 0)
    assert same_weights(copied, fresh) and not same_weights(student, fresh)


@pytest.mark.slow
def test_importing_brings_no_timm():
    code = (
        "import kgen.nets.vit, kgen.teachers, kgen.zoo, sys; print('timm' in sys.modules,"
        " 'torchvision' in sys.modules)"
    )
    assert subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split() == ["False", "False"]
