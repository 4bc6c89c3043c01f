"""The errors form one tree, and each class describes its failure in its docstring."""

import inspect
import pkgutil
from importlib import import_module

import pytest

import app
from app.domain import errors
from app.domain.errors import DatabaseDown, InvalidCursor, InvalidInput, MalformedInput, StoreDown, UnbrokenError


def every_error(root: type[UnbrokenError] = UnbrokenError) -> list[type[UnbrokenError]]:
    return [root, *(error for child in root.__subclasses__() for error in every_error(child))]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_has_a_sentence_of_its_own(error: type[UnbrokenError]) -> None:
    assert error.__doc__
    assert inspect.getdoc(error) != inspect.getdoc(error.__mro__[1])


def test_the_docstring_is_the_default_message_and_a_given_one_wins() -> None:
    assert DatabaseDown().detail.startswith("PostgreSQL does not answer just now")
    assert DatabaseDown("full").detail == "full"


def test_an_invalid_input_names_its_field() -> None:
    assert InvalidInput("No.", "model").field == "model"
    assert InvalidInput("No.").field is None
    assert errors.KeyReused().field == "client_msg_id"


def test_who_catches_a_kind_catches_all_of_it() -> None:
    assert issubclass(InvalidCursor, MalformedInput)
    assert issubclass(MalformedInput, InvalidInput)
    assert issubclass(DatabaseDown, StoreDown)
    assert issubclass(errors.LogDown, StoreDown)
    assert issubclass(errors.TooManyStreams, errors.Overloaded)


def test_our_exceptions_below_the_doors_are_all_in_the_tree() -> None:
    strangers = []
    for package in ("domain", "store", "eventlog", "services"):
        for module in pkgutil.iter_modules([f"{app.__path__[0]}/{package}"]):
            loaded = import_module(f"app.{package}.{module.name}")
            for name, value in vars(loaded).items():
                own = inspect.isclass(value) and value.__module__ == loaded.__name__
                if own and issubclass(value, Exception) and not issubclass(value, UnbrokenError):
                    strangers.append(name)
    assert strangers == []
