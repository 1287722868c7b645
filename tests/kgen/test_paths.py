"""The folder for downloads where there is none: a container's user without a home."""

from __future__ import annotations

import pytest

from kgen.data import collection
from kgen.preflight.request import check_name
from kgen.system import paths
from kgen.system.paths import HomeError
from kgen.zoo import inventory, zoo
from tests.support.errors import raises
from tests.support.unprivileged import without_user


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    for name in ("KGEN_HOME", "HOME", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with without_user():
        yield tmp_path


def test_without_a_home_the_bundled_teachers_are_there_and_no_others(homeless):
    assert zoo.user_teachers() == () and "fashion-cnn" in zoo.available()
    assert {"bundled", "fetch"} <= {row["state"] for row in inventory.teachers()}
    assert "KGEN_HOME" in collection.installed("cifar10").missing


def test_without_a_home_it_is_asked_for_where_something_is_stored(homeless):
    for store in (
        paths.writable_home,
        lambda: check_name("mine"),
        lambda: collection.get("cifar10"),
    ):
        with raises(HomeError, "no-home", "KGEN_HOME"):
            store()
    assert not any(homeless.iterdir()), "nothing is written anywhere else instead"


def test_a_home_that_cannot_be_made_says_so(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "file" / "home"))
    assert zoo.user_teachers() == ()
    with raises(HomeError, "unwritable", "KGEN_HOME", file=str(tmp_path / "file" / "home")):
        paths.writable_home()
