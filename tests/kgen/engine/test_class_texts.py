"""Other texts for classes: the rows that the table then has, what is refused, and what causes a
warning.
"""

import pytest
import torch

from kgen import embeddings
from kgen.embeddings import EmbeddingError, class_table, close_pairs, rescale
from kgen.engine.setting import Setting
from kgen.engine.warnings import warnings_of
from kgen.recipe.recipe import RecipeError
from kgen.recipes import recipes
from kgen.zoo import zoo
from tests.support.errors import raises

NAMES = zoo.classes("fashion-cnn")


def setting(**changes):
    return Setting(recipes.get("tiny").replace(device="cpu", evaluate_on="none", **changes))


def test_a_class_is_embedded_by_its_other_text():
    changed = tuple("goldfish" if name == "Bag" else name for name in NAMES)
    torch.testing.assert_close(setting(class_texts={"Bag": "goldfish"}).table, class_table(changed))
    assert setting(class_texts={"Bag": "goldfish"}).teacher.classes == NAMES


@pytest.mark.parametrize(
    ("texts", "error", "code", "facts"),
    [
        ({"Spaceship": "a ship"}, RecipeError, "unknown-class", ["'Spaceship'"]),
        ({"Bag": "spaceship food"}, EmbeddingError, "no-embedding", ["food", "text_encoder"]),
        ({"Bag": "Coat"}, EmbeddingError, "duplicate-text", []),
    ],
)
def test_what_cannot_be_embedded_is_said(texts, error, code, facts):
    with raises(error, code, *facts):
        setting(class_texts=texts, embedding="text")


def test_without_an_embedding_class_centers_stand_for_the_classes_and_it_says_so():
    texts = {"Bag": "spaceship food"}
    found = setting(class_texts=texts)
    assert found.recipe.embedding == "center" and found.table.shape == (10, embeddings.WIDTH)
    assert found.recipe == setting(class_texts=texts, embedding="center").recipe
    assert any("spaceship food" in text for text, _ in warnings_of(found))
    for asked in (setting(), setting(class_texts=texts, embedding="center")):
        assert not any("class centers" in text for text, _ in warnings_of(asked))
    assert setting().recipe.embedding == "text"


def test_the_command_of_a_run_that_chose_for_itself_is_the_recipes_own():
    assert recipes.command(setting().recipe) == recipes.command(
        recipes.get("tiny").replace(device="cpu", evaluate_on="none")
    )


def test_the_live_encoder_is_asked_for_what_the_table_lacks(monkeypatch):
    asked = []

    def encode(texts, model=embeddings.MODEL):
        asked.extend(texts)
        return torch.nn.functional.normalize(torch.ones(len(texts), embeddings.WIDTH), dim=1)

    monkeypatch.setattr(embeddings, "embed", encode)
    table = setting(class_texts={"Bag": "an unknown text"}, text_encoder="live").table
    assert asked == ["an unknown text"] and table.shape == (10, embeddings.WIDTH)
    row = table[NAMES.index("Bag")]
    torch.testing.assert_close(row, row.mean().expand_as(row))


def test_close_pairs_come_closest_first():
    a, b = torch.nn.functional.normalize(
        torch.randn(2, 384, generator=torch.Generator().manual_seed(0)), dim=1
    )
    near = torch.nn.functional.normalize(a + 0.3 * b, dim=0)
    assert close_pairs(torch.stack([a, b, near, a])) == [(0, 3), (0, 2), (2, 3)]
    assert close_pairs(rescale(class_table(NAMES))) == []


def test_nearly_equal_texts_are_warned_of(monkeypatch):
    near = {
        "class_texts": {"Bag": "keyboard", "Coat": "computer keyboard"},
        "classes": ("Bag", "Coat"),
    }
    assert not any("nearly the same" in text for text, _ in warnings_of(setting(**near)))
    monkeypatch.setattr(
        embeddings, "CLOSE_COSINE", 0.9
    )  # these two have 0.92; no two bundled texts have more
    assert "Bag and Coat mean nearly the same" in " ".join(
        text for text, _ in warnings_of(setting(**near))
    )
