"""Parts of sentences: their grammar and what they leave out."""

from __future__ import annotations

import pytest
import torch

from kgen import phrases
from kgen.preflight import capabilities
from kgen.recipe import errors
from kgen.recipe.recipe import Recipe
from kgen.zoo import fetch, zoo
from tests.support.errors import raises

NAMES = ["resnet18", "resnet34", "resnet50", *(f"net-{letter}" for letter in "abcdefghijkl")]


@pytest.mark.parametrize(
    ("name", "known", "command", "text"),
    [
        ("net-aa", NAMES, "", "Did you mean 'net-a'?"),
        ("zzz", ["a", "b"], "list", "Known: a, b."),
        ("zzz", NAMES[:12], "", f"Known: {', '.join(NAMES[:12])}."),
        ("zzz", NAMES, "", "Known: resnet18, resnet34, resnet50, net-a, net-b, and 10 more."),
        (
            "zzz",
            NAMES,
            "list",
            "Known: resnet18, resnet34, resnet50, net-a, net-b, and 10 more."
            " `list` lists them all.",
        ),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_the_first_few(name, known, command, text):
    assert phrases.did_you_mean(name, known, command) == text


def test_names_that_are_nearly_as_close_are_all_suggested():
    text = phrases.did_you_mean("resnet", NAMES, "list")
    assert text.startswith("Did you mean 'resnet") and text.endswith("'? `list` lists them all.")
    assert all(name in text for name in NAMES[:3]) and text.count("'") == 6


@pytest.mark.parametrize(
    ("n", "noun", "text"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2000, "real image", "2,000 real images"),
        (2, "class", "2 classes"),
        (1, "class", "1 class"),
        (2, "batch", "2 batches"),
        (2, "process", "2 processes"),
    ],
)
def test_a_count_agrees_with_its_noun(n, noun, text):
    assert phrases.count(n, noun) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0"), (850, "850"), (5306, "5.3 k"), (339_034, "339 k"), (999_600, "1.0 M")]
    + [(2_804_154, "2.8 M"), (132_863_336, "133 M"), (1.5e9, "1,500 M")],
)
def test_a_small_number_is_not_rounded_to_nothing(n, text):
    assert phrases.rounded(n) == text


def test_a_network_with_one_batch_norm_has_one_layer():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    assert capabilities.batch_norm(network).finding.startswith("1 layer, ")


def test_no_message_lists_dozens_of_names():
    with raises(zoo.ZooError, "unknown-teacher", "`python -m kgen zoo`") as teacher:
        zoo.locate("zzzz")
    with raises(zoo.ZooError, "unknown-weights", "`python -m kgen zoo`", "timm:MODEL.TAG") as found:
        fetch.find("zzzz")
    field, _ = errors.unknown("zzzz", errors.field_names(Recipe))
    for text in (str(teacher.value), str(found.value), field):
        assert "more" in text and text.count(", ") <= phrases.MAX_LISTED and len(text) < 200
