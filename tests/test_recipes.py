"""Cards and recipes as typed data: whatever ships is valid, and every mistake of a file is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from agebench import resources
from agebench.errors import RecipeError
from agebench.recipes import digest, load_card, load_curation_recipe, load_model_recipe
from agebench.training.resolve import resolve_recipe

CARDS = sorted(resources.available("manifests"))
PIPELINES = sorted(resources.available("pipelines"))


@pytest.mark.parametrize("name", CARDS)
def test_every_shipped_card_is_complete(name: str) -> None:
    card = load_card(name)
    assert card.root == f"data/{name}"
    assert card.licence
    assert card.source.startswith("https://")
    assert "@" in card.citation
    recipe = load_curation_recipe(card.recipe)
    assert recipe.dataset in (name, "any")


@pytest.mark.parametrize("name", PIPELINES)
def test_every_shipped_recipe_is_of_a_known_dataset(name: str) -> None:
    assert load_curation_recipe(name).dataset in [*CARDS, "any"]


def write(folder: Path, text: str, name: str = "mine") -> str:
    file = folder / f"{name}.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


GOOD = 'name = "mine"\ndataset = "fg-net"\ntitle = "t"\n[[check]]\nname = "a"\nreject = "age < 0"\nreason = "r"\n'


def test_all_mistakes_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        'name = "mine"\ndatset = "fg-net"\ntitle = 3\n'
        '[[check]]\nname = "Bad Name"\nreject = "age < 0"\nreason = "r"\n'
        '[[check]]\nname = "b"\nreject = "age < 0"\nreview = "age < 0"\nreason = "r"\n'
        '[[check]]\nname = "c"\nreasn = "r"\nreject = "age < 0"\n',
    )
    with pytest.raises(RecipeError) as error:
        load_curation_recipe(file)
    text = error.value.message
    assert error.value.exit_status == 2
    assert file in text
    assert "datset: unknown key. Did you mean 'dataset'" in text
    assert "dataset: missing" in text
    assert "title:" in text
    assert "found 3" in text
    assert "check 'Bad Name'.name" in text
    assert "'Bad Name'" in text
    assert "check 'b': a check needs exactly one of `reject` and `review`" in text
    assert "check 'c'.reasn: unknown key. Did you mean 'reason'" in text
    assert "check 'c'.reason: missing" in text


def test_an_unknown_key_in_a_named_table_is_told_with_the_nearest(tmp_path: Path) -> None:
    text = resources.find("manifests", "fg-net").read_text()
    (tmp_path / "fg-net.toml").write_text(text + '\n[protocols.published]\nkind = "file"\nfiel = "splits.csv"\n')
    with pytest.raises(RecipeError, match=r"protocols\.published\.fiel: unknown key\. Did you mean 'file'"):
        load_card(str(tmp_path / "fg-net.toml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "not valid TOML"),
        ("", "name: missing"),
        (GOOD.replace('"mine"', '"other"'), "name: expected 'mine' like the file, found 'other'"),
        (GOOD + GOOD.partition("[[check]]")[1] + '\nname = "a"\nreview = "age > 9"\nreason = "r"\n', "appears twice"),
        (GOOD.replace("[[check]]", "[check]"), "check"),
        (GOOD.replace("age < 0", "age < 0").replace('reject = "age < 0"', "reject = 3"), "check 'a'.reject"),
    ],
)
def test_a_broken_recipe_is_a_sentence(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_curation_recipe(write(tmp_path, text))


def test_bytes_that_are_no_utf8_are_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b'name = "\xff\xfe"')
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_card(str(file))


def test_the_digest_ignores_formatting_but_not_content(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    one = load_curation_recipe(write(tmp_path, GOOD))
    same = load_curation_recipe(write(tmp_path / "x", "# a comment\n" + GOOD.replace(" = ", "   =   ")))
    assert digest(one) == digest(same)
    other = load_curation_recipe(write(tmp_path, GOOD.replace("age < 0", "age < 1")))
    assert digest(one) != digest(other)


def test_changed_keys_of_a_model_recipe_are_checked_like_the_file() -> None:
    assert load_model_recipe("neighborhood-quick", changes={"train.steps": 7}).train.steps == 7
    for changes, told in (
        ({"train.stpes": 7}, "train.stpes: unknown key. Did you mean 'steps'"),
        ({"train.steps": "many"}, "train.steps"),
        ({"trian.steps": 7}, "trian: unknown key. Did you mean 'train'"),
        ({"name.x": 7}, "'name' is not a table"),
        ({"network.blocks": [2, 2]}, "2 stages of blocks but 4 widths"),
    ):
        with pytest.raises(RecipeError, match=told):
            resolve_recipe("neighborhood-quick", changes=changes)
