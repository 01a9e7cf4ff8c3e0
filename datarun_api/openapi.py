"""What `/openapi.json` says besides what the views' decorators say.

A view states what it takes and gives (`Blueprint.arguments`, `response`, `alt_response`) and whom
it lets in (`auth.allow`). The rest follows from that, so it is written here, once, for every
operation: its name, the security schemes and roles, and each refusal that its shape brings along.
A view names a refusal of its own only to say more about it.
"""

import re
from http import HTTPStatus
from typing import Any

from apispec import BasePlugin
from flask import Flask, Response
from flask_smorest import Api
from flask_smorest.utils import prepare_response
from marshmallow.fields import Enum, Field
from marshmallow.validate import OneOf, Range
from werkzeug.exceptions import HTTPException

from datarun_api.errors import REFUSALS, write_http_exception
from datarun_api.idempotency import HEADER as KEY_HEADER
from datarun_api.schemas import ErrorSchema, FilesField
from datarun_client.states import Role

ROLES = "x-roles"
"""Where an operation of the document names the roles that may call it."""

SECURITY_SCHEMES = {
    "basic": {"type": "http", "scheme": "basic", "description": "Name and password of an account."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token of an account."},
}

KEY_PARAMETER = {
    "name": KEY_HEADER,
    "in": "header",
    "description": "With the same key the same request is carried out once and answered the same.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]+$", "minLength": 1, "maxLength": 255},
    "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
}

DESCRIPTION = """\
Trains and tests the submissions of machine-learning data challenges.

A slash at the end of an address is optional. `/runapp/` is a stable contract: fields and calls are
added, never renamed or dropped. Every refusal has the shape of `Error`. The roles that may call an
operation stand in its description and in `x-roles`; a role that may not gets 403.
"""

_NO_LETTERS = re.compile(r"[^a-z0-9]+")


class ContractPlugin(BasePlugin):
    """Completes each operation: its name, who may call it, and how it may be refused."""

    def path_helper(
        self,
        path: str | None = None,
        operations: dict[str, Any] | None = None,
        parameters: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        """Complete the operations of a path; what a view said itself stays."""
        for method, operation in (operations or {}).items():
            operation.setdefault("operationId", make_operation_id(method, path or ""))
            roles = operation.get(ROLES)
            operation["security"] = [{name: []} for name in SECURITY_SCHEMES] if roles else []
            if roles:
                sentences = [operation.get("description"), f"Roles: {', '.join(roles)}."]
                operation["description"] = "\n\n".join(filter(None, sentences))
            # What `auth.allow` lets all POSTs do but workers'.
            if method == "post" and roles and Role.WORKER not in roles:
                operation.setdefault("parameters", []).append(KEY_PARAMETER)
            responses = operation.setdefault("responses", {})
            told = {str(status) for status in responses}
            for status in list_refusals(operation, parameters or []):
                if str(int(status)) not in told:
                    responses[str(int(status))] = status.name


def make_operation_id(method: str, path: str) -> str:
    """Name an operation after its method and path, for links and for generated clients."""
    words = _NO_LETTERS.sub("_", path.removeprefix("/runapp").lower()).strip("_")
    return f"{method}_{words}"


def list_refusals(
    operation: dict[str, Any], path_parameters: list[dict[str, Any]]
) -> list[HTTPStatus]:
    """List the refusals that an operation may answer with because of its shape."""
    parameters = [*path_parameters, *operation.get("parameters", [])]
    in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    refusals = [HTTPStatus.SERVICE_UNAVAILABLE]
    if "requestBody" in operation:
        refusals += [HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE]
    elif len(parameters) > len(in_path):
        refusals += [HTTPStatus.BAD_REQUEST]
    if in_path:
        refusals += [HTTPStatus.NOT_FOUND]
    if KEY_PARAMETER in parameters:
        refusals += [HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE]
    if "attempt" in in_path:  # it may be over, and another one the newest
        refusals += [HTTPStatus.CONFLICT]
    if ROLES in operation:
        refusals += [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS]
    return refusals


def describe_access(doc: dict[str, Any], doc_info: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Carry the roles that `auth.allow` noted on a view to its operation."""
    roles = doc_info.get("roles")
    return {**doc, ROLES: [str(role) for role in roles]} if roles else doc


def describe_file_names(converter: Any, field: Field, **kwargs: Any) -> dict[str, Any]:
    """Say how the names of a set of files look, which no field of marshmallow's can."""
    if not isinstance(field, FilesField):
        return {}
    return {"propertyNames": {"type": "string", "minLength": 1, "format": "file-name"}}


def describe_exclusive_bounds(converter: Any, field: Field, **kwargs: Any) -> dict[str, Any]:
    """Say which bounds of a number are out of its range; apispec takes them for inclusive."""
    bounds: dict[str, Any] = {}
    for validator in field.validators:
        if isinstance(validator, Range) and not validator.min_inclusive:
            bounds["exclusiveMinimum"] = validator.min
        if isinstance(validator, Range) and not validator.max_inclusive:
            bounds["exclusiveMaximum"] = validator.max
    return bounds


def describe_choices(converter: Any, field: Field, **kwargs: Any) -> dict[str, Any]:
    """Say which members of an enum a field takes, if it doesn't take all."""
    choices = [
        str(choice)
        for validator in field.validators
        if isinstance(field, Enum) and isinstance(validator, OneOf)
        for choice in validator.choices
    ]
    return {"enum": choices} if choices else {}


class DatarunApi(Api):
    """flask-smorest's Api, with our shape of errors and nothing left undocumented."""

    ERROR_SCHEMA = ErrorSchema
    # A catch-all would let any status count as documented.
    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask) -> None:
        super().__init__(
            app,
            spec_kwargs={
                "extra_plugins": [ContractPlugin()],
                "info": {"description": DESCRIPTION},
            },
        )

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Write whatever Flask, webargs or we refused with."""
        return write_http_exception(error)

    def _init_spec(self, **options: Any) -> None:
        super()._init_spec(**options)
        for describe in (describe_file_names, describe_exclusive_bounds, describe_choices):
            self.ma_plugin.converter.add_attribute_function(describe)
        for name, scheme in SECURITY_SCHEMES.items():
            self.spec.components.security_scheme(name, scheme)

    def _register_responses(self) -> None:
        for status, refusal in REFUSALS.items():
            response = {
                "description": refusal.description,
                "schema": self.ERROR_SCHEMA,
                "example": refusal.example,
                "headers": {
                    name: {"description": text, "schema": {"type": "string"}}
                    for name, text in refusal.headers.items()
                },
            }
            prepare_response(response, self.spec, self.DEFAULT_RESPONSE_CONTENT_TYPE)
            self.spec.components.response(status.name, response, lazy=True)

    def _register_pagination_header(self) -> None:
        """Leave out what flask-smorest says of its own way of paging, which nobody uses."""
