"""What may be asked of a list: filters, pages and fields, in the address's query.

A query is text, so numbers are read from text here, and an unknown name is refused as everywhere.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import marshmallow as ma
from marshmallow import ValidationError, fields, validate
from webargs.fields import DelimitedList

from datarun_api.schemas import (
    EXAMPLE_TIME,
    MAX_ID,
    SCORES,
    SCORES_EXAMPLE,
    RawDataSchema,
    SubmissionFoldLightSchema,
    SubmissionFoldSchema,
    describe,
)
from datarun_api.wire import FOLD_FIELDS, LIGHT_FIELDS, RAW_DATA_FIELDS
from datarun_client.states import Priority, State

MAX_LIMIT = 10_000
"""How many rows a page may have; a list without pages may have any number."""


class NumberText(fields.Integer):
    """A whole number between two bounds, written in digits."""

    def __init__(self, lowest: int, highest: int, **kwargs: Any) -> None:
        super().__init__(validate=validate.Range(lowest, highest), **kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        # int() would take underscores, spaces and other alphabets' digits too.
        if not (isinstance(value, str) and value.isascii() and value.isdecimal()):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Words(DelimitedList):
    """Some words of a few, with commas between them."""

    def __init__(self, choices: Iterable[str], **kwargs: Any) -> None:
        self.choices = tuple(map(str, choices))
        word = fields.String(validate=validate.OneOf(self.choices))
        super().__init__(word, validate=validate.Length(1), **kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError:
            raise ValidationError(f"Must be of {', '.join(self.choices)}.") from None


def choose_fields(names: Iterable[str]) -> Words:
    """Describe the choice among a list's fields."""
    return Words(names, data_key="fields", metadata=describe("Show these fields only."))


class ListQuerySchema(ma.Schema):
    """A page of a list."""

    limit = NumberText(
        1, MAX_LIMIT, metadata=describe("How many a page has; without it the list is whole.", 100)
    )
    cursor = NumberText(
        0, MAX_ID, metadata=describe("Where the page begins; take it from the `Link` header.", 10)
    )


class RawDataListQuerySchema(ListQuerySchema):
    """A page of the list of data sets."""

    names = choose_fields(RAW_DATA_FIELDS)


class FoldFilterSchema(ListQuerySchema):
    """Which folds are listed."""

    state = Words(State, metadata=describe("Folds in one of these states."))
    raw_data = NumberText(0, MAX_ID, metadata=describe("Folds on this data set.", 3))
    submission = NumberText(0, MAX_ID, metadata=describe("Folds of this submission.", 1))
    priority = Words(Priority, metadata=describe("Folds of one of these priorities."))
    since = fields.AwareDateTime(
        format="iso",
        metadata=describe("Folds that changed at this moment or later.", EXAMPLE_TIME),
    )


class FoldListQuerySchema(FoldFilterSchema):
    """A page of the list of folds."""

    names = choose_fields((*FOLD_FIELDS, "scores"))


class FoldLightListQuerySchema(FoldFilterSchema):
    """A page of the list of folds' states."""

    names = choose_fields(LIGHT_FIELDS)


class EntrySchema(ma.Schema):
    """An entry of a list: all fields, or those that were asked for."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(partial=True, **kwargs)


class RawDataEntrySchema(EntrySchema, RawDataSchema):
    """A data set in a list."""


class SubmissionFoldEntrySchema(EntrySchema, SubmissionFoldSchema):
    """A fold in a list."""

    scores = fields.Dict(allow_none=True, metadata=describe(SCORES, SCORES_EXAMPLE))


class SubmissionFoldLightEntrySchema(EntrySchema, SubmissionFoldLightSchema):
    """A fold's state in a list."""
