"""The files of data sets and submissions, as they were posted.

They are for the account that posted them. A viewer of it may read a submission's, but of a data
set only names, sizes and hashes: its files hold the held-out labels too. Compute machines get
theirs from `worker`, by what they claimed; what a split made of a data set is sent to nobody else.
"""

from flask import Response, jsonify, send_file
from flask.views import MethodView

from datarun_api.auth import allow, get_account
from datarun_api.blueprints import ID, Blueprint
from datarun_api.bodies import BYTES
from datarun_api.errors import NotFoundError
from datarun_api.extensions import get_storage
from datarun_api.models import StoredFile
from datarun_api.negotiation import BINARY, PART_OF_IT, RANGE_HEADERS, UNCHANGED
from datarun_api.raw_data import get_raw_data, get_submission
from datarun_api.schemas import StoredFileSchema
from datarun_client.states import Role

blueprint = Blueprint("files", __name__, description="Files of data sets and submissions.")

RAW_DATA = f"/rawdata/<{ID}:raw_data_id>/files/"
SUBMISSION = f"/submission/<{ID}:databoard_s_id>/files/"


@blueprint.route(RAW_DATA)
class RawDataFileList(MethodView):
    """The files of a data set."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.response(200, StoredFileSchema(many=True))
    def get(self, raw_data_id: int) -> Response:
        """List the files of a data set; its own reader is always `specific.py`."""
        return jsonify(get_raw_data(get_account().namespace, raw_data_id, "raw_data_id").files)


@blueprint.route(f"{RAW_DATA}<path:name>")
class RawDataFile(MethodView):
    """One file of a data set."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(200, BINARY, content_type=BYTES, headers=RANGE_HEADERS)
    @blueprint.alt_response(206, schema=BINARY, content_type=BYTES, description=PART_OF_IT)
    @blueprint.alt_response(304, description=UNCHANGED)
    @blueprint.alt_response(416, "REQUESTED_RANGE_NOT_SATISFIABLE")
    def get(self, raw_data_id: int, name: str) -> Response:
        """Fetch a file of a data set, whole or in part."""
        raw_data = get_raw_data(get_account().namespace, raw_data_id, "raw_data_id")
        return send_named(raw_data.files, name)


@blueprint.route(SUBMISSION)
class SubmissionFileList(MethodView):
    """The files of a submission."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.response(200, StoredFileSchema(many=True))
    def get(self, databoard_s_id: int) -> Response:
        """List the files of a submission."""
        return jsonify(get_submission(get_account().namespace, databoard_s_id).files)


@blueprint.route(f"{SUBMISSION}<path:name>")
class SubmissionFile(MethodView):
    """One file of a submission."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.response(200, BINARY, content_type=BYTES, headers=RANGE_HEADERS)
    @blueprint.alt_response(206, schema=BINARY, content_type=BYTES, description=PART_OF_IT)
    @blueprint.alt_response(304, description=UNCHANGED)
    @blueprint.alt_response(416, "REQUESTED_RANGE_NOT_SATISFIABLE")
    def get(self, databoard_s_id: int, name: str) -> Response:
        """Fetch a file of a submission, whole or in part."""
        return send_named(get_submission(get_account().namespace, databoard_s_id).files, name)


def send_named(files: list[StoredFile], name: str) -> Response:
    """Send the file of a manifest that has a name.

    Raises
    ------
    NotFoundError
        If none has.
    """
    for file in files:
        if file["name"] == name:
            return send_file(
                get_storage().find(file["sha256"]),
                mimetype=BYTES,
                # Whatever it is, a browser mustn't show it as a page of ours.
                as_attachment=True,
                download_name=name.rpartition("/")[2],
                etag=file["sha256"],
            )
    raise NotFoundError(f"There is no file {name!r}; the address without it lists them.")
