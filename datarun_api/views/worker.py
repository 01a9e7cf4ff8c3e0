"""What compute machines call: claim, fetch, report, deliver.

Only accounts with the role `worker` come here. Every call on a fold or a split names the attempt;
when that isn't the newest any more, the answer is 409 and the worker drops what it does.
"""

import base64
import hashlib
from typing import Any

from flask import Response, current_app, jsonify, request, send_file
from flask.views import MethodView

from datarun_api.auth import allow, get_account
from datarun_api.blueprints import ID, Blueprint
from datarun_api.bodies import BYTES, read_bytes
from datarun_api.errors import BadInputError, ForbiddenError, NotFoundError
from datarun_api.extensions import get_storage
from datarun_api.folds import (
    ClaimWish,
    append_log,
    claim_fold,
    finish_fold,
    get_running_fold,
    list_inputs,
    release_fold,
    renew_lease,
    report_phase,
)
from datarun_api.models import StoredFile
from datarun_api.negotiation import BINARY
from datarun_api.raw_data import (
    claim_split,
    finish_split,
    get_running_split,
    release_split,
    renew_split_lease,
)
from datarun_api.schemas import (
    ClaimWishSchema,
    DoneSchema,
    ErrorSchema,
    FoldClaimInputSchema,
    FoldClaimSchema,
    FoldResultAnswerSchema,
    FoldResultInputSchema,
    HeartbeatInputSchema,
    LeaseSchema,
    LogInputSchema,
    LogSchema,
    PhaseInputSchema,
    ReleaseInputSchema,
    SplitClaimInputSchema,
    SplitClaimSchema,
    SplitResultInputSchema,
)
from datarun_api.storage import SHA256_PATTERN, ContentError
from datarun_api.wire import dump_fold_claim, dump_split_claim
from datarun_api.workers import note_worker
from datarun_client import PROTOCOL, PROTOCOL_HEADER
from datarun_client.states import Role

blueprint = Blueprint("worker", __name__, description="For compute machines.")

PROTOCOL_PARAMETER = {
    "in": "header",
    "name": PROTOCOL_HEADER,
    "required": True,
    "description": "The protocol that the worker speaks.",
    "schema": {"type": "integer", "enum": [PROTOCOL]},
}
"""Every call of a worker brings it; `check_protocol` looks at it."""

ANY_PROTOCOL_PARAMETER = {
    **PROTOCOL_PARAMETER,
    "required": False,
    "description": "Not looked at: what it runs, any worker may give back.",
    "schema": {},
}

DIGEST_PARAMETER = {
    "in": "header",
    "name": "Repr-Digest",
    "required": True,
    "description": "`sha-256=:<base64 of the body's SHA-256>:` (RFC 9530).",
    "schema": {"type": "string"},
}
"""What `check_digest` looks at."""

FOLD = f"/worker/folds/<{ID}:owner>/<{ID}:databoard_sf_id>/<{ID}:attempt>"
SPLIT = f"/worker/splits/<{ID}:raw_data>/<{ID}:attempt>"

RELEASES = frozenset({"worker.FoldRelease", "worker.SplitRelease", "worker.ScoringRelease"})
"""The endpoints that take back what a worker can't finish."""


@blueprint.before_request
def check_protocol() -> None:
    """Refuse a worker of a release that speaks another protocol.

    But for one call: what such a worker runs it may give back, uncharged.

    Raises
    ------
    BadInputError
        With the side that must be upgraded.
    """
    if request.endpoint in RELEASES:
        return
    text = request.headers.get(PROTOCOL_HEADER, "")
    if not text.isdecimal() or int(text) < PROTOCOL:
        raise BadInputError(
            f"This worker speaks protocol {text or 0} and the API {PROTOCOL}: upgrade the worker."
        )
    if int(text) > PROTOCOL:
        raise BadInputError(
            f"This worker speaks protocol {text} and the API {PROTOCOL}: upgrade the API."
        )


@blueprint.after_request
def name_protocol(response: Response) -> Response:
    """Name our protocol: a worker tells by it a refusal until the upgrade from one for good."""
    response.headers[PROTOCOL_HEADER] = str(PROTOCOL)
    return response


def check_digest() -> bytes:
    """Check the body against its `Repr-Digest` (RFC 9530): a result must arrive whole.

    Returns
    -------
    bytes
        The SHA-256 of the body.

    Raises
    ------
    BadInputError
        If there is none, or if the bytes are others.
    """
    digest = hashlib.sha256(request.get_data()).digest()
    if request.headers.get("Repr-Digest") != f"sha-256=:{base64.b64encode(digest).decode()}:":
        raise BadInputError("The body doesn't match its Repr-Digest header; send it again.")
    return digest


@blueprint.route("/worker/heartbeat/")
class Heartbeat(MethodView):
    """A worker lives."""

    @allow(Role.WORKER)
    @blueprint.arguments(HeartbeatInputSchema)
    @blueprint.response(200, LeaseSchema)
    def post(self, payload: dict[str, Any]) -> Response:
        """Tell that a worker lives, and what it is."""
        note_worker(get_account().id, payload)
        return dump_lease()


@blueprint.route("/worker/folds/claim/")
class FoldClaim(MethodView):
    """A worker takes a fold."""

    @allow(Role.WORKER)
    @blueprint.arguments(FoldClaimInputSchema)
    @blueprint.response(200, FoldClaimSchema)
    @blueprint.alt_response(204, description="There is nothing to do.")
    def post(self, payload: dict[str, Any]) -> Response:
        """Claim a fold of the queue of a job; it need not be the one that the job names."""
        wish = ClaimWish(payload["queue"], payload["worker"], payload["ahead"])
        fold = claim_fold(wish, payload["resumes"])
        if fold is None:
            return Response(status=204)
        return jsonify(dump_fold_claim(fold, current_app.config["LEASE"]))


@blueprint.route(f"{FOLD}/files/<sha256>/")
class FoldFile(MethodView):
    """A file of a claimed fold."""

    @allow(Role.WORKER)
    @blueprint.response(200, BINARY, content_type=BYTES)
    def get(self, owner: int, databoard_sf_id: int, attempt: int, sha256: str) -> Response:
        """Fetch a file of the claimed fold: of its submission, or of its data without labels."""
        fold = get_running_fold(owner, databoard_sf_id, attempt)
        return send_stored(sha256, [*fold.submission.files, *list_inputs(fold)])


@blueprint.route(f"{FOLD}/phase/")
class FoldPhase(MethodView):
    """The end of a phase of a fold."""

    @allow(Role.WORKER)
    @blueprint.arguments(PhaseInputSchema)
    @blueprint.response(200, DoneSchema)
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


@blueprint.route(f"{FOLD}/lease/")
class FoldLease(MethodView):
    """The lease of a running fold."""

    @allow(Role.WORKER)
    @blueprint.response(200, LeaseSchema)
    @blueprint.alt_response(409, schema=ErrorSchema, description="Stop it: it is over.")
    def post(self, owner: int, databoard_sf_id: int, attempt: int) -> Response:
        """Renew the lease."""
        renew_lease(owner, databoard_sf_id, attempt)
        return dump_lease()


@blueprint.route(f"{FOLD}/release/")
class FoldRelease(MethodView):
    """A fold that a worker can't finish."""

    @allow(Role.WORKER)
    @blueprint.doc(parameters=[ANY_PROTOCOL_PARAMETER])
    @blueprint.arguments(ReleaseInputSchema)
    @blueprint.response(200, DoneSchema)
    def post(
        self, payload: dict[str, Any], owner: int, databoard_sf_id: int, attempt: int
    ) -> Response:
        """Give it back; no loss is charged."""
        release_fold(owner, databoard_sf_id, attempt, payload["reason"])
        return jsonify({})


@blueprint.route(f"{FOLD}/result/")
class FoldResult(MethodView):
    """The result of a fold."""

    @allow(Role.WORKER)
    @blueprint.doc(parameters=[DIGEST_PARAMETER])
    @blueprint.arguments(ClaimWishSchema, location="query")
    @blueprint.arguments(FoldResultInputSchema)
    @blueprint.response(200, FoldResultAnswerSchema)
    def post(
        self,
        wish: dict[str, Any],
        payload: dict[str, Any],
        owner: int,
        databoard_sf_id: int,
        attempt: int,
    ) -> Response:
        """Deliver the result, and claim the next fold if the address says of which queue.

        The same result may be delivered twice.
        """
        digest = check_digest()
        claim = ClaimWish(**wish) if wish else None
        fold = finish_fold(owner, databoard_sf_id, attempt, payload, digest, claim)
        claimed = None if fold is None else dump_fold_claim(fold, current_app.config["LEASE"])
        return jsonify(claim=claimed)


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
    @blueprint.response(200, BINARY, content_type=BYTES)
    def get(self, raw_data: int, attempt: int, sha256: str) -> Response:
        """Fetch a raw file of the claimed data set."""
        demand_data_jobs()
        return send_stored(sha256, get_running_split(raw_data, attempt).files)

    @allow(Role.WORKER)
    @blueprint.doc(requestBody={"required": True, "content": {BYTES: {"schema": {}}}})
    @blueprint.response(200, DoneSchema)
    def put(self, raw_data: int, attempt: int, sha256: str) -> Response:
        """Upload a part that the split made; the body is its bytes."""
        demand_data_jobs()
        get_running_split(raw_data, attempt)
        if not SHA256_PATTERN.fullmatch(sha256):
            raise BadInputError("The address must end with the SHA-256 of the bytes.")
        try:
            get_storage().write(read_bytes(current_app.config["MAX_UPLOAD"]), sha256)
        except ContentError as error:
            raise BadInputError(str(error)) from None
        return jsonify({})


@blueprint.route(f"{SPLIT}/lease/")
class SplitLease(MethodView):
    """The lease of a running split."""

    @allow(Role.WORKER)
    @blueprint.response(200, LeaseSchema)
    @blueprint.alt_response(409, schema=ErrorSchema, description="Stop it: it is over.")
    def post(self, raw_data: int, attempt: int) -> Response:
        """Renew the lease."""
        demand_data_jobs()
        renew_split_lease(raw_data, attempt)
        return dump_lease()


@blueprint.route(f"{SPLIT}/release/")
class SplitRelease(MethodView):
    """A split that a worker can't finish."""

    @allow(Role.WORKER)
    @blueprint.doc(parameters=[ANY_PROTOCOL_PARAMETER])
    @blueprint.arguments(ReleaseInputSchema)
    @blueprint.response(200, DoneSchema)
    def post(self, payload: dict[str, Any], raw_data: int, attempt: int) -> Response:
        """Give it back; no loss is charged."""
        demand_data_jobs()
        release_split(raw_data, attempt)
        return jsonify({})


@blueprint.route(f"{SPLIT}/result/")
class SplitResult(MethodView):
    """The result of a split."""

    @allow(Role.WORKER)
    @blueprint.doc(parameters=[DIGEST_PARAMETER])
    @blueprint.arguments(SplitResultInputSchema)
    @blueprint.response(200, DoneSchema)
    def post(self, payload: dict[str, Any], raw_data: int, attempt: int) -> Response:
        """Deliver the result of a split."""
        demand_data_jobs()
        check_digest()
        finish_split(raw_data, attempt, payload)
        return jsonify({})


def dump_lease() -> Response:
    """Tell a worker how long its lease lasts."""
    return jsonify(lease=current_app.config["LEASE"])


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
    return send_file(get_storage().find(sha256), mimetype=BYTES)
