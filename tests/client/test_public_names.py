"""What `datarun_client` offers: one curated list, whose names are all there."""

import inspect
from importlib import import_module

import pytest

import datarun_client
from datarun_client import errors


@pytest.mark.parametrize("name", datarun_client.__all__)
def test_a_public_name_is_there_and_documented(name):
    assert inspect.getdoc(getattr(datarun_client, name))


def test_the_list_is_sorted_and_complete():
    """Whatever `Client` gives or raises can be imported from the package."""
    records = {
        name
        for module in ("records", "runs", "client")
        for name, thing in vars(import_module(f"datarun_client.{module}")).items()
        if inspect.isclass(thing)
        and thing.__module__ == f"datarun_client.{module}"
        and not name.startswith("_")
    }
    refusals = {kind.__name__ for kind in errors.REFUSALS.values()}

    assert records | refusals <= set(datarun_client.__all__)
    assert datarun_client.__all__ == sorted(set(datarun_client.__all__))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        datarun_client.Klient  # noqa: B018


def test_the_tree_of_errors_is_drawn_as_it_is():
    """Every class stands in the drawing, below its parent."""
    lines = [line for line in errors.__doc__.splitlines() if "──" in line]
    drawn = {}
    parents = ["DatarunError"]
    for line in lines:
        indent = line.index("──") - 1
        name = line.split("──")[1].split()[0]
        depth = 1 + (indent - 4) // 4
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1]

    assert drawn == {
        name: kind.__bases__[0].__name__
        for name, kind in vars(errors).items()
        if inspect.isclass(kind)
        and issubclass(kind, errors.DatarunError)
        and kind is not errors.DatarunError
    }
