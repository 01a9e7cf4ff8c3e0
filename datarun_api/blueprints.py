"""flask-smorest's Blueprint, reading JSON as the rest of the application does."""

from typing import Any

import flask_smorest
from flask import Request
from marshmallow import RAISE
from webargs.flaskparser import FlaskParser

from datarun_api.openapi import describe_access
from datarun_api.schemas import MAX_ID

ID = f"int(max={MAX_ID})"
"""How a route names a number of ours or a platform's; what is larger is not found."""


class JsonParser(FlaskParser):
    """Reads a body by the application's JSON provider, which bounds how deep it may nest."""

    DEFAULT_VALIDATION_STATUS = 400
    # A misspelt filter must not list everything.
    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": RAISE}

    def _raw_load_json(self, req: Request) -> Any:
        return req.get_json()


class Blueprint(flask_smorest.Blueprint):
    """A blueprint that reads arguments by `JsonParser` and tells whom its views let in."""

    ARGUMENTS_PARSER = JsonParser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(describe_access)

    def arguments(self, schema: Any, **kwargs: Any) -> Any:
        """Have a view read its arguments by a schema; of a class one is made here, for all."""
        instance = schema() if isinstance(schema, type) else schema
        return super().arguments(instance, **kwargs)
