"""Which of the content types that a view offers the caller wants."""

from collections.abc import Mapping
from typing import Any, TypeVar

from flask import Response, after_this_request, request

from datarun_api.errors import NotAcceptableError

JSON = "application/json"
NPY = "application/x-npy"
ZIP = "application/zip"

BINARY = {"type": "string", "format": "binary"}
"""A body of bytes, as `/openapi.json` describes it."""

UNCHANGED = "It is as `If-None-Match` says."
PART_OF_IT = "The bytes that `Range` names."

RANGE_HEADERS = {
    "ETag": {"schema": {"type": "string"}, "description": "For `If-None-Match` and `If-Range`."},
    "Accept-Ranges": {"schema": {"type": "string"}, "description": "`bytes`: for `Range`."},
}
"""What a body tells that comes in parts, for `/openapi.json`."""

T = TypeVar("T")


def choose_type(offers: Mapping[str, T]) -> T:
    """Choose what the request's `Accept` header asks for.

    Parameters
    ----------
    offers : mapping
        What there is for each content type; the first is for callers that ask for nothing.

    Raises
    ------
    NotAcceptableError
        If it asks for something else.
    """
    after_this_request(_vary)
    if not request.accept_mimetypes:
        return next(iter(offers.values()))
    best = request.accept_mimetypes.best_match(offers)
    if best is None:
        raise NotAcceptableError(f"This comes as {' or '.join(offers)}; ask for one of them.")
    return offers[best]


def _vary(response: Response) -> Any:
    response.vary.add("Accept")
    return response
