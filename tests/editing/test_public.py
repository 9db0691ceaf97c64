"""The package as its users import it."""

import doctest

import pytest

import editing


def test_the_example_of_the_package_works() -> None:
    found = doctest.testmod(editing)
    assert found.attempted >= 8 and found.failed == 0


def test_every_public_name_is_there() -> None:
    for name in editing.__all__:
        assert getattr(editing, name).__name__ == name
        assert name in dir(editing)
    with pytest.raises(AttributeError, match="no attribute 'XYZ'"):
        editing.XYZ  # noqa: B018
