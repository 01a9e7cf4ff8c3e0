"""Every refusal of the API, in its one shape.

::

    ApiError              {"error": "<one sentence>", "errors": {"<field>": ["<what is wrong>"]}}
    ├── BadInputError     400
    ├── ForbiddenError    403
    ├── NotFoundError     404
    └── ConflictError     409   what exists says otherwise

Views and the functions that they call raise these; `handle_http_exception` writes them, and with
them whatever Flask, webargs and the database raise on their own.
"""

import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, jsonify
from flask_smorest import Api
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from datarun_api.schemas import ErrorSchema

RETRY_AFTER = 2
"""Seconds after which a client may try again when PostgreSQL is away."""

logger = logging.getLogger(__name__)


class ApiError(HTTPException):
    """A refusal.

    Parameters
    ----------
    error : str
        One sentence for a person.
    errors : mapping of str to list of str, optional
        What is wrong and what to do, by field; for a list of objects, by index and field.
    """

    def __init__(self, error: str, errors: Mapping[str, Any] | None = None) -> None:
        super().__init__(error)
        self.errors = dict(errors or {})


class BadInputError(ApiError):
    """The request can't be understood or asks for something that can't be."""

    code = 400


class ForbiddenError(ApiError):
    """The account may not do this."""

    code = 403


class NotFoundError(ApiError):
    """There is no such thing in this account."""

    code = 404


class ConflictError(ApiError):
    """What exists says otherwise."""

    code = 409


def make_error_response(
    status: int, error: str, errors: Mapping[str, Any] | None = None
) -> Response:
    """Write a refusal in its one shape."""
    response = jsonify({"error": error, "errors": dict(errors or {})})
    response.status_code = status
    return response


class DatarunApi(Api):
    """flask-smorest's Api, with our shape of errors."""

    ERROR_SCHEMA = ErrorSchema

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Write whatever Flask, webargs or we refused with."""
        if isinstance(error, ApiError):
            return make_error_response(error.code or 500, str(error.description), error.errors)
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
    app.register_error_handler(PoolTimeoutError, refuse_for_now)
    app.register_error_handler(RedisError, refuse_for_now)
