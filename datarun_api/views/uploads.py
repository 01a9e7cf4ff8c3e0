"""Files that come before the data sets and submissions that they belong to."""

import hashlib
from typing import Any
from uuid import UUID

from flask import Response, current_app, jsonify, request
from flask.views import MethodView

from datarun_api.auth import allow, get_account
from datarun_api.blueprints import Blueprint
from datarun_api.bodies import BYTES, DIGEST_HEADER, get_digest, load_json, read_bytes
from datarun_api.errors import BadInputError
from datarun_api.models import Upload
from datarun_api.negotiation import BINARY, JSON
from datarun_api.schemas import MAX_BIG, ErrorSchema, UploadInputSchema, UploadSchema
from datarun_api.uploads import (
    append_part,
    begin_upload,
    check_hash,
    delete_upload,
    get_upload,
    list_uploads,
    store_upload,
)
from datarun_api.wire import dump_upload
from datarun_client.states import Role

blueprint = Blueprint("uploads", __name__, description="Files that come by themselves.")

UPLOAD = "/uploads/<uuid:upload_id>/"


def describe_digest(*, required: bool) -> dict[str, Any]:
    """Describe the header that says what the body's hash is to be."""
    return {
        "in": "header",
        "name": DIGEST_HEADER,
        "required": required,
        "description": "`sha-256=:<base64 of the body's SHA-256>:` (RFC 9530).",
        "schema": {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"},
    }


@blueprint.route("/uploads/")
class UploadList(MethodView):
    """The account's uploads."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(200, UploadSchema(many=True))
    def get(self) -> Response:
        """List all uploads, the first one first."""
        return jsonify([dump(upload) for upload in list_uploads(get_account().namespace)])

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.doc(
        parameters=[describe_digest(required=False)],
        requestBody={
            "required": True,
            "content": {JSON: {"schema": UploadInputSchema}, BYTES: {"schema": BINARY}},
        },
    )
    @blueprint.response(201, UploadSchema)
    @blueprint.alt_response(409, schema=ErrorSchema, description="There are too many.")
    def post(self) -> tuple[Response, int]:
        """Send a file in one piece, or, with JSON, announce one that will come in parts."""
        owner_id, digest = get_account().namespace, get_digest()
        if request.mimetype == BYTES:
            chunks = read_bytes(current_app.config["MAX_UPLOAD"])
            upload = store_upload(owner_id, chunks, digest)
        else:
            check_hash(hashlib.sha256(request.get_data()).hexdigest(), digest)
            upload = begin_upload(owner_id, **load_json(UploadInputSchema()))
        return jsonify(dump(upload)), 201


@blueprint.route(UPLOAD)
class UploadDetail(MethodView):
    """One upload."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(200, UploadSchema)
    def get(self, upload_id: UUID) -> Response:
        """Say how much of an upload has arrived."""
        return jsonify(dump(get_upload(get_account().namespace, upload_id)))

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(204)
    @blueprint.alt_response(409, schema=ErrorSchema, description="A part is being received.")
    def delete(self, upload_id: UUID) -> Response:
        """Forget an upload; what refers to its file keeps it."""
        delete_upload(get_account().namespace, upload_id)
        return Response(status=204)


@blueprint.route(f"{UPLOAD}parts/<int(max={MAX_BIG}):offset>/")
class UploadPart(MethodView):
    """A part of an upload."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.doc(
        parameters=[describe_digest(required=True)],
        requestBody={"required": True, "content": {BYTES: {"schema": BINARY}}},
    )
    @blueprint.response(200, UploadSchema)
    @blueprint.alt_response(409, schema=ErrorSchema, description="It doesn't fit there.")
    def put(self, upload_id: UUID, offset: int) -> Response:
        """Send the part that begins at an offset; the same may be sent twice."""
        digest = get_digest()
        if digest is None:
            raise BadInputError(f"A part needs {DIGEST_HEADER}.", {DIGEST_HEADER: ["Missing."]})
        chunks = read_bytes(current_app.config["MAX_UPLOAD"])
        return jsonify(
            dump(append_part(get_account().namespace, upload_id, offset, chunks, digest))
        )


def dump(upload: Upload) -> dict[str, Any]:
    """Show an upload."""
    return dump_upload(upload, current_app.config["KEEP_UPLOADS"])
