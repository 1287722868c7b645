"""Class names in every form that people keep them in: the names, their order, or one sentence."""

from __future__ import annotations

import json

import pytest

from kgen.data import classes
from kgen.preflight.classnames import parse_names, read_names
from kgen.preflight.request import PreflightError, parse_request
from tests.support.errors import raises

PETS = ("cat", "dog", "horse")


def read(path, content: str | bytes) -> tuple[str, ...]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_names(str(path)).names


def test_names_one_per_line_by_commas_or_of_a_data_set(tmp_path):
    names = read(tmp_path / "n.txt", "\ufeffcat\n\n great white shark, or man-eater \r\nzèbre\n")
    assert names == ("cat", "great white shark, or man-eater", "zèbre")
    assert read(tmp_path / "synset.words", "cat\ndog") == ("cat", "dog")
    assert read_names("cat, dog").names == ("cat", "dog")
    assert read_names("cifar10").names == classes.names("cifar10")


@pytest.mark.parametrize(
    "value",
    [
        ["cat", "dog", "horse"],
        {"1": "dog", "0": "cat", "2": "horse"},
        {"1": "cat", "2": "dog", "3": "horse"},
        {"horse": 2, "cat": 0, "dog": 1},
        {"horse": "2", "cat": "0", "dog": "1"},
        {"0": ["n02123045", "cat"], "1": ["n02099601", "dog"], "2": ["n02389026", "horse"]},
        {"architectures": ["ResNet"], "id2label": dict(enumerate(PETS)), "image_size": 224},
        {"architecture": "resnet18", "label_names": list(PETS), "num_classes": 3},
        {"nc": 3, "names": ["cat", "dog", "horse"]},
        [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 3, "name": "horse"}],
    ],
    ids=str,
)
def test_json_lists_and_dictionaries(value, tmp_path):
    assert read(tmp_path / "n.json", json.dumps(value)) == PETS
    assert parse_names(json.dumps(value)).names == PETS


@pytest.mark.parametrize(
    "content",
    [
        "['cat', 'dog', 'horse']",
        "('cat', 'dog', 'horse')"[1:-1],
        "{0: 'cat', 1: 'dog', 2: 'horse'}",
        "{'horse': 2, 'cat': 0, 'dog': 1}",
        "['cat',\n 'dog',\n 'horse',]\n",
    ],
)
def test_lists_and_dictionaries_as_python_prints_them(content, tmp_path):
    expected = PETS if content[0] in "[{" else ("'cat'", "'dog'", "'horse'")
    assert read(tmp_path / "n.txt", content) == parse_names(content).names == expected


@pytest.mark.parametrize(
    "content",
    [
        "1: dog\n0: cat\n2: horse\n",
        "0 cat\n1 dog\n2 horse",
        "2\tdog\n1\tcat\n3\thorse",
        "2. dog\n1. cat\n3. horse",
        "0,cat\n1,dog\n2,horse",
        "1 - cat\n2 - dog\n3 - horse",
        "(1) dog\n(0) cat\n(2) horse",
        "02 horse\n00 cat\n01 dog",
        "0 -> cat\n1 -> dog\n2 -> horse",
        "dog 1\ncat 0\nhorse 2",
        "dog: 1\nhorse: 2\ncat: 0",
        "dog\t1\r\nhorse\t2\r\ncat\t0\r\n",
        "dog (1)\nhorse (2)\ncat (0)",
        "1: dog, 0: cat, 2: horse",
    ],
)
def test_lines_with_indices_are_in_their_order(content, tmp_path):
    (tmp_path / "n.txt").write_text(content)
    for found in (parse_names(content), read_names(str(tmp_path / "n.txt"))):
        assert found.names == PETS and "indices" in found.source


@pytest.mark.parametrize(
    "names",
    [
        ("speed limit 20", "speed limit 30", "stop"),
        ("speed limit 50", "speed limit 20", "speed limit 70"),
        ("type 1", "type 2", "type 0"),
        ("0 cat", "2 dog"),
        ("0 cat", "dog 1"),
        ("0 cat", "1 dog", "horse"),
        ("1", "0"),
        ("0.5 mm", "1.5 mm"),
        ("3D", "2D", "1D"),
        ("cat0", "dog1"),
        ("7 of 9", "2 of 9"),
    ],
)
def test_numbers_that_count_no_classes_are_part_of_the_name(names, tmp_path):
    assert read(tmp_path / "n.txt", "\n".join(names)) == names
    found = parse_names("\n".join(names))
    assert found.names == names and not found.source


def test_one_line_with_commas_in_a_file_is_several_names(tmp_path):
    assert read(tmp_path / "n.txt", "cat, dog,horse\n") == PETS


@pytest.mark.parametrize(
    "content",
    [
        "id,name\n0,cat\n1,dog\n2,horse\n",
        "name;ClassId\ndog;1\nhorse;2\ncat;0\n",
        "label\tname\r\n2\tdog\r\n3\thorse\r\n1\tcat\r\n",
        "ClassId,SignName\n0,cat\n1,dog\n2,horse\n",
        "index,mid,display_name\n1,/m/1,dog\n0,/m/0,cat\n2,/m/2,horse\n",
        ",name\n0,cat\n1,dog\n2,horse\n",
        "name\ncat\ndog\nhorse\n",
        "cat\ndog\nhorse\n",
        "0,cat\n1,dog\n2,horse\n",
        '"id","name"\n"0","cat"\n"2","horse"\n\n"1","dog"\n',
    ],
)
def test_tables(content, tmp_path):
    assert read(tmp_path / "labels.csv", content) == PETS
    assert parse_names(content, "labels.csv").names == PETS


def test_a_pasted_table_is_recognized_and_lines_with_commas_are_names():
    assert parse_names("id,name\n1,dog\n0,cat\n").names == ("cat", "dog")
    lines = "tench, Tinca tinca\ngoldfish, Carassius auratus\nid, ego\n"
    assert parse_names(lines).names == tuple(lines.splitlines())


def test_numbers_are_names_unless_a_form_says_otherwise(tmp_path):
    assert read_names("1,2,3").names == ("1", "2", "3")
    assert read(tmp_path / "n.txt", "3\n1\n2\n") == ("3", "1", "2")
    assert read(tmp_path / "n.json", '["2", "1"]') == read(tmp_path / "m.json", "[2, 1]")
    assert read(tmp_path / "n.csv", "name\n2\n1\n3\n") == ("2", "1", "3")
    assert read(tmp_path / "n.csv", "id,name\n0,1\n1,5\n") == ("1", "5")
    assert read(tmp_path / "n.json", '{"0": "5", "1": "7"}') == ("5", "7")
    folders = '{"1": 0, "10": 1, "2": 2}'  # ImageFolder.class_to_idx of folders called 1, 10, 2
    assert read(tmp_path / "n.json", folders) == ("1", "10", "2")
    with raises(PreflightError, "ambiguous", "n.json"):
        read(tmp_path / "n.json", '{"1": "0", "2": "1"}')


@pytest.mark.parametrize("text", ["cat,dog,horse,", "# of pets\ncat\ndog\n# big\nhorse\n"])
def test_a_comma_at_the_end_and_comments_are_no_names(text, tmp_path):
    assert read(tmp_path / "n.txt", text) == parse_names(text).names == PETS
    assert ("2 comments" in read_names(str(tmp_path / "n.txt")).source) == ("#" in text)
    assert parse_names("C#\n#1").names == ("C#", "#1")


def test_it_says_how_a_file_was_understood(tmp_path):
    (tmp_path / "n.csv").write_text("id,name\n0,cat\n1,dog\n")
    (tmp_path / "n.json").write_text('{"cat": 0, "dog": 1}')
    table, dictionary = (read_names(str(tmp_path / f"n.{kind}")) for kind in ("csv", "json"))
    assert "'name'" in table.source and "'id'" in table.source
    assert "name → index" in dictionary.source and not read_names("cat,dog").source


def test_pasted_bytes_of_utf_16_are_refused_and_a_byte_order_mark_is_not_a_name():
    table = "id,name\n1,dog\n0,cat\n"
    assert parse_names("\ufeff" + table).names == ("cat", "dog")
    with raises(PreflightError, "invalid-classes", "UTF-16"):
        parse_names(table.encode("utf-16").decode("latin-1"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_of_windows(encoding, tmp_path):
    assert read(tmp_path / "n.txt", "Käse\r\n猫\r\n".encode(encoding)) == ("Käse", "猫")
    assert read(tmp_path / "n.csv", "id,name\n0,Käse\n1,猫\n".encode(encoding)) == ("Käse", "猫")


@pytest.mark.parametrize(
    ("name", "content", "code", "facts"),
    [
        ("n.txt", None, "unreadable", []),
        ("n.txt", b"K\xe4se\nBrot\n", "unreadable", ["Save the file as UTF-8"]),
        ("n.csv", b"id;name\n0;K\xe4se\n", "unreadable", ["CSV UTF-8"]),
        ("n.txt", b"\xff\xfe\x00", "unreadable", ["UTF-8"]),
        ("n.json", b'{"0": "cat", "2": "dog"}', "invalid-classes", [1]),
        ("n.json", b'{"cat": 0, "dog": 2}', "invalid-classes", [1]),
        ("n.json", b'{"cat": true, "dog": false}', "invalid-classes", []),
        ("n.json", b"[1.5, 2]", "invalid-classes", []),
        ("n.json", b'"cat"', "invalid-classes", []),
        ("n.json", b"{0: 'cat', 2: 'dog'}", "invalid-classes", [1]),
        ("n.json", b"[cat, dog]", "not-json", []),
        ("n.json", b"['cat', open('n.json').read()]", "not-json", []),
        ("n.json", b"{'cat', 'dog'}", "not-json", []),
        ("n.json", b"[" * 100_000, "not-json", []),
        ("n.csv", b"id,name\n1,cat\n3,dog\n", "invalid-classes", ["'id'"]),
        ("n.csv", b"id,name\n0,tench, Tinca\n1,dog\n", "invalid-classes", ["Row 2", 3]),
        ("n.csv", b"cat,red\ndog,blue\n", "invalid-classes", [2]),
        ("n.csv", b"breed,color\ncat,red\ndog,blue\n", "invalid-classes", []),
        ("n.csv", b'id,name\n0,"cat\n', "invalid-classes", []),
        ("data.yaml", b"names:\n  0: cat\n", "invalid-classes", [".txt"]),
        ("n.xlsx", b"PK\3\4\0\0", "invalid-classes", [".csv"]),
    ],
)
def test_names_that_cannot_be_read(name, content, code, facts, tmp_path):
    if content:
        (tmp_path / name).write_bytes(content)
    with raises(PreflightError, code, name, *facts):
        read_names(str(tmp_path / name))


def test_a_data_set_is_suggested():
    with raises(PreflightError, "invalid-classes", "'cifar10'"):
        read_names("cifar")


# --- single names --------------------------------------------------------------------------------


def cleaned(*names: str) -> tuple[str, ...]:
    found = parse_request({"path": "x.pt", "classes": list(names)}).classes
    assert found is not None
    return found


def test_joiners_are_part_of_words_and_emoji():
    family, becomes, hindi = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "می\u200cشود", "क्\u200dष"
    england = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    assert cleaned(family, becomes, hindi, england) == (family, becomes, hindi, england)


def test_spaces_and_accents_that_look_the_same_are_the_same():
    assert cleaned("sea\u00a0lion", "sea\u202fcow\u3000") == ("sea lion", "sea cow")
    assert cleaned("cafe\u0301", "caf\u00e9") == ("café", "café")


def test_upper_and_lower_case_are_different_names():
    assert cleaned("a", "A", "ß", "SS") == ("a", "A", "ß", "SS")


@pytest.mark.parametrize(
    ("name", "character"),
    [
        ("cat\u200b", "U+200B ZERO WIDTH SPACE"),
        ("cat\u202egod", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("\ufeffcat", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("cat\x1b[2J", "U+001B"),
        ("cat\ndog", "U+000A"),
    ],
)
def test_other_invisible_characters_are_named(name, character):
    with raises(PreflightError, "invalid-value", "name 2", character, field="classes"):
        cleaned("dog", name)
