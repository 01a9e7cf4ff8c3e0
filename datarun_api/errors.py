"""Every refusal of the API, in its one shape.

::

    ApiError              {"error": "<one sentence>", "errors": {"<field>": ["<what is wrong>"]}}
    ├── BadInputError     400
    ├── ForbiddenError    403
    ├── NotFoundError     404
    ├── NotAcceptableError    406
    ├── ConflictError     409   what exists says otherwise
    ├── TooLargeError     413
    ├── TooManyRequestsError  429
    └── BusyError         503   come back later

Views and the functions that they call raise these; `write_http_exception` writes them, and with
them whatever Flask, webargs and the database raise on their own. `REFUSALS` says of each status
what it means, once, for `/openapi.json` and the documentation.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from typing import Any

import psycopg
from flask import Flask, Response, jsonify
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

RETRY_AFTER = 2
"""Seconds after which a client may try again when PostgreSQL is away."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """What a status of a refusal means.

    Attributes
    ----------
    description : str
        When it is given.
    example : dict
        How it may look.
    headers : mapping of str to str
        The headers that come with it, and what each says.
    """

    description: str
    example: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def _show(error: str, **errors: list[str]) -> Mapping[str, Any]:
    """Show a refusal in its one shape."""
    return {"error": error, "errors": errors}


AGAIN = {"Retry-After": "Seconds after which the request may be sent again."}

REFUSALS: Mapping[HTTPStatus, Refusal] = {
    HTTPStatus.BAD_REQUEST: Refusal(
        "A field is bad; nothing was written.",
        _show("The request has bad fields.", name=["Missing data for required field."]),
    ),
    HTTPStatus.UNAUTHORIZED: Refusal(
        "There is no such account, or its token has expired.",
        _show("Name and password, or a token, of an account are needed."),
        {"WWW-Authenticate": "How to say who asks."},
    ),
    HTTPStatus.FORBIDDEN: Refusal(
        "The account's role doesn't allow that.",
        _show("This account's role doesn't allow that."),
    ),
    HTTPStatus.NOT_FOUND: Refusal(
        "There is no such thing in this account.",
        _show("There is no fold 10 in this account."),
    ),
    HTTPStatus.NOT_ACCEPTABLE: Refusal(
        "It doesn't come as what `Accept` asks for.",
        _show("This comes as application/x-npy or application/json; ask for one of them."),
    ),
    HTTPStatus.CONFLICT: Refusal(
        "What exists says otherwise.",
        _show(
            "RawData with this name already exists.",
            name=["RawData with this name already exists."],
        ),
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Refusal(
        "The request is too large.",
        _show("The data value transmitted exceeds the capacity limit."),
    ),
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: Refusal(
        "There are no such bytes as `Range` names.",
        _show("The server cannot provide the requested range."),
    ),
    HTTPStatus.TOO_MANY_REQUESTS: Refusal(
        "Too many requests, or too many failed logins.",
        _show("Too many failed logins; try again later."),
        AGAIN,
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: Refusal(
        "The database is away for a moment.",
        _show("The database is away for a moment; try again."),
        AGAIN,
    ),
}


class ApiError(HTTPException):
    """A refusal.

    Parameters
    ----------
    error : str
        One sentence for a person.
    errors : mapping of str to list of str, optional
        What is wrong and what to do, by field; for a list of objects, by index and field.
    retry_after : float, optional
        Seconds after which the same request may be sent again.
    """

    def __init__(
        self,
        error: str,
        errors: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(error)
        self.errors = dict(errors or {})
        self.retry_after = retry_after


class BadInputError(ApiError):
    """The request can't be understood or asks for something that can't be."""

    code = 400


class ForbiddenError(ApiError):
    """The account may not do this."""

    code = 403


class NotFoundError(ApiError):
    """There is no such thing in this account."""

    code = 404


class NotAcceptableError(ApiError):
    """It doesn't come as the content type that was asked for."""

    code = 406


class ConflictError(ApiError):
    """What exists says otherwise."""

    code = 409


class TooLargeError(ApiError):
    """The request or its answer is larger than a limit."""

    code = 413


class TooManyRequestsError(ApiError):
    """The same was asked for too often."""

    code = 429


class BusyError(ApiError):
    """There is no room for this now; the same request may come back later."""

    code = 503


def make_error_response(
    status: int, error: str, errors: Mapping[str, Any] | None = None
) -> Response:
    """Write a refusal in its one shape."""
    response = jsonify({"error": error, "errors": dict(errors or {})})
    response.status_code = status
    return response


def write_http_exception(error: HTTPException) -> Response:
    """Write whatever Flask, webargs or we refused with."""
    if isinstance(error, ApiError):
        response = make_error_response(error.code or 500, str(error.description), error.errors)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(ceil(error.retry_after))
        return response
    # webargs tells bad fields as {"json": {field: [...]}} in `data`, with 400 or 422.
    data = getattr(error, "data", None) or {}
    fields: dict[str, Any] = {}
    for messages in data.get("messages", {}).values():
        fields.update(messages if isinstance(messages, dict) else {"request": messages})
    if fields:
        return make_error_response(400, "The request has bad fields.", fields)
    status = error.code or 500
    # 415 is Flask's word for "no JSON"; our contract knows it as bad input.
    if status == 415:
        status = 400
    response = make_error_response(status, str(error.description or error.name))
    for header, value in error.get_headers():
        if header.lower() in ("allow", "retry-after", "www-authenticate"):
            response.headers[header] = value
    return response


def register_error_handlers(app: Flask) -> None:
    """Tell clients to try again while the database is away, and log what was our fault."""

    def refuse_for_now(error: Exception) -> Response:
        if (
            isinstance(error, DBAPIError)
            and not isinstance(error, OperationalError)
            and not error.connection_invalidated
        ):
            raise error
        logger.warning("the database or Redis is away: %s", error.__class__.__name__)
        response = make_error_response(503, "The database is away for a moment; try again.")
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response

    app.register_error_handler(DBAPIError, refuse_for_now)
    # Lists are read past SQLAlchemy.
    app.register_error_handler(psycopg.OperationalError, refuse_for_now)
    app.register_error_handler(PoolTimeoutError, refuse_for_now)
    app.register_error_handler(RedisError, refuse_for_now)
