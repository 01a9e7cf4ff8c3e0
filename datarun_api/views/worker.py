"""What compute machines call: claim, fetch, report, deliver.

Only accounts with the role `worker` come here. Every call on a fold or a split names the attempt;
when that isn't the newest any more, the answer is 409 and the worker drops what it does.
"""

from collections.abc import Iterator
from typing import Any

from flask import Response, current_app, jsonify, request, send_file
from flask.views import MethodView

from datarun_api.auth import allow, get_account
from datarun_api.blueprints import ID, Blueprint
from datarun_api.errors import BadInputError, ForbiddenError, NotFoundError
from datarun_api.extensions import get_storage
from datarun_api.folds import (
    append_log,
    claim_fold,
    finish_fold,
    get_running_fold,
    list_inputs,
    report_phase,
)
from datarun_api.models import StoredFile
from datarun_api.raw_data import claim_split, finish_split, get_running_split
from datarun_api.schemas import (
    FoldClaimInputSchema,
    FoldClaimSchema,
    FoldResultInputSchema,
    LogInputSchema,
    LogSchema,
    PhaseInputSchema,
    SplitClaimInputSchema,
    SplitClaimSchema,
    SplitResultInputSchema,
)
from datarun_api.storage import SHA256_PATTERN, ContentError
from datarun_api.wire import dump_fold_claim, dump_split_claim
from datarun_client.states import Role

blueprint = Blueprint("worker", __name__, description="For compute machines.")

FOLD = f"/worker/folds/<{ID}:owner>/<{ID}:databoard_sf_id>/<{ID}:attempt>"
SPLIT = f"/worker/splits/<{ID}:raw_data>/<{ID}:attempt>"
CHUNK = 1 << 20


@blueprint.route("/worker/folds/claim/")
class FoldClaim(MethodView):
    """A worker takes a fold."""

    @allow(Role.WORKER)
    @blueprint.arguments(FoldClaimInputSchema)
    @blueprint.response(200, FoldClaimSchema)
    @blueprint.alt_response(204, description="There is nothing to do.")
    def post(self, payload: dict[str, Any]) -> Response:
        """Claim the fold that a job names."""
        payload["owner_id"] = payload.pop("owner")
        fold = claim_fold(**payload)
        if fold is None:
            return Response(status=204)
        return jsonify(dump_fold_claim(fold, current_app.config["LEASE"]))


@blueprint.route(f"{FOLD}/files/<sha256>/")
class FoldFile(MethodView):
    """A file of a claimed fold."""

    @allow(Role.WORKER)
    @blueprint.response(200, {"type": "string", "format": "binary"}, content_type="*/*")
    def get(self, owner: int, databoard_sf_id: int, attempt: int, sha256: str) -> Response:
        """Fetch a file of the claimed fold: of its submission, or of its data without labels."""
        fold = get_running_fold(owner, databoard_sf_id, attempt)
        return send_stored(sha256, [*fold.submission.files, *list_inputs(fold)])


@blueprint.route(f"{FOLD}/phase/")
class FoldPhase(MethodView):
    """The end of a phase of a fold."""

    @allow(Role.WORKER)
    @blueprint.arguments(PhaseInputSchema)
    @blueprint.response(200)
    def post(
        self, payload: dict[str, Any], owner: int, databoard_sf_id: int, attempt: int
    ) -> Response:
        """Report the end of a phase."""
        report_phase(owner, databoard_sf_id, attempt, payload["state"])
        return jsonify({})


@blueprint.route(f"{FOLD}/log/")
class FoldLog(MethodView):
    """The log of a running fold."""

    @allow(Role.WORKER)
    @blueprint.arguments(LogInputSchema)
    @blueprint.response(200, LogSchema)
    def post(
        self, payload: dict[str, Any], owner: int, databoard_sf_id: int, attempt: int
    ) -> Response:
        """Add a piece to the log."""
        return jsonify(length=append_log(owner, databoard_sf_id, attempt, **payload))


@blueprint.route(f"{FOLD}/result/")
class FoldResult(MethodView):
    """The result of a fold."""

    @allow(Role.WORKER)
    @blueprint.arguments(FoldResultInputSchema)
    @blueprint.response(200)
    def post(
        self, payload: dict[str, Any], owner: int, databoard_sf_id: int, attempt: int
    ) -> Response:
        """Deliver the result; the same may be delivered twice."""
        finish_fold(owner, databoard_sf_id, attempt, payload)
        return jsonify({})


@blueprint.route("/worker/splits/claim/")
class SplitClaim(MethodView):
    """A worker takes a split."""

    @allow(Role.WORKER)
    @blueprint.arguments(SplitClaimInputSchema)
    @blueprint.response(200, SplitClaimSchema)
    @blueprint.alt_response(204, description="There is nothing to do.")
    def post(self, payload: dict[str, Any]) -> Response:
        """Claim the split that a job names."""
        demand_data_jobs()
        raw_data = claim_split(payload["raw_data"], payload["attempt"])
        if raw_data is None:
            return Response(status=204)
        return jsonify(dump_split_claim(raw_data, current_app.config["LEASE"]))


@blueprint.route(f"{SPLIT}/files/<sha256>/")
class SplitFile(MethodView):
    """A file that a split reads or makes."""

    @allow(Role.WORKER)
    @blueprint.response(200, {"type": "string", "format": "binary"}, content_type="*/*")
    def get(self, raw_data: int, attempt: int, sha256: str) -> Response:
        """Fetch a raw file of the claimed data set."""
        demand_data_jobs()
        return send_stored(sha256, get_running_split(raw_data, attempt).files)

    @allow(Role.WORKER)
    @blueprint.response(200)
    def put(self, raw_data: int, attempt: int, sha256: str) -> Response:
        """Upload a part that the split made; the body is its bytes."""
        demand_data_jobs()
        get_running_split(raw_data, attempt)
        if not SHA256_PATTERN.fullmatch(sha256):
            raise BadInputError("The address must end with the SHA-256 of the bytes.")
        request.max_content_length = current_app.config["MAX_UPLOAD"]
        try:
            get_storage().write(read_body(), sha256)
        except ContentError as error:
            raise BadInputError(str(error)) from None
        return jsonify({})


@blueprint.route(f"{SPLIT}/result/")
class SplitResult(MethodView):
    """The result of a split."""

    @allow(Role.WORKER)
    @blueprint.arguments(SplitResultInputSchema)
    @blueprint.response(200)
    def post(self, payload: dict[str, Any], raw_data: int, attempt: int) -> Response:
        """Deliver the result of a split."""
        demand_data_jobs()
        finish_split(raw_data, attempt, payload)
        return jsonify({})


def demand_data_jobs() -> None:
    """Refuse a worker whose token doesn't say that it may see held-out labels.

    Raises
    ------
    ForbiddenError
        If it may not.
    """
    if not get_account().runs_data_jobs:
        raise ForbiddenError("This worker's token doesn't allow data jobs.")


def send_stored(sha256: str, allowed: list[StoredFile]) -> Response:
    """Send a file of storage, if it is one of those that the caller may have.

    Raises
    ------
    NotFoundError
        If it isn't.
    """
    if sha256 not in {file["sha256"] for file in allowed}:
        raise NotFoundError("This attempt has no such file.")
    return send_file(get_storage().find(sha256), mimetype="application/octet-stream")


def read_body() -> Iterator[bytes]:
    """Read a request's body piece by piece."""
    while chunk := request.stream.read(CHUNK):
        yield chunk
