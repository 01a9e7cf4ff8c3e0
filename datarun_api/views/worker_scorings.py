"""What compute machines call to score a submission: claim, fetch, deliver."""

from typing import Any

from flask import Response, current_app, jsonify
from flask.views import MethodView

from datarun_api.auth import allow
from datarun_api.blueprints import ID
from datarun_api.bodies import BYTES
from datarun_api.negotiation import BINARY
from datarun_api.schemas import (
    DoneSchema,
    LeaseSchema,
    ReleaseInputSchema,
    ScoredFoldSchema,
    ScoringClaimInputSchema,
    ScoringClaimSchema,
    ScoringResultInputSchema,
)
from datarun_api.scoring import (
    claim_scoring,
    finish_scoring,
    get_running_scoring,
    get_scored_fold,
    list_scoring_files,
    release_scoring,
    renew_scoring_lease,
)
from datarun_api.views.worker import (
    ANY_PROTOCOL_PARAMETER,
    DIGEST_PARAMETER,
    blueprint,
    check_digest,
    demand_data_jobs,
    dump_lease,
    send_stored,
)
from datarun_api.wire import dump_scored_fold, dump_scoring_claim
from datarun_client.states import Role

SCORING = f"/worker/scorings/<{ID}:owner>/<{ID}:databoard_s>/<{ID}:attempt>"


@blueprint.route("/worker/scorings/claim/")
class ScoringClaim(MethodView):
    """A worker takes a scoring."""

    @allow(Role.WORKER)
    @blueprint.arguments(ScoringClaimInputSchema)
    @blueprint.response(200, ScoringClaimSchema)
    @blueprint.alt_response(204, description="There is nothing to do.")
    def post(self, payload: dict[str, Any]) -> Response:
        """Claim the scoring that a job names."""
        demand_data_jobs()
        scoring = claim_scoring(payload["owner"], payload["databoard_s"], payload["attempt"])
        if scoring is None:
            return Response(status=204)
        return jsonify(dump_scoring_claim(scoring, current_app.config["LEASE"]))


@blueprint.route(f"{SCORING}/files/<sha256>/")
class ScoringFile(MethodView):
    """The files of a claimed scoring."""

    @allow(Role.WORKER)
    @blueprint.response(200, BINARY, content_type=BYTES)
    def get(self, owner: int, databoard_s: int, attempt: int, sha256: str) -> Response:
        """Fetch labels, or what a kit's score types need."""
        demand_data_jobs()
        return send_stored(
            sha256, list_scoring_files(get_running_scoring(owner, databoard_s, attempt))
        )


@blueprint.route(f"{SCORING}/folds/<{ID}:databoard_sf_id>/")
class ScoringFold(MethodView):
    """A fold of a claimed scoring."""

    @allow(Role.WORKER)
    @blueprint.response(200, ScoredFoldSchema)
    def get(self, owner: int, databoard_s: int, attempt: int, databoard_sf_id: int) -> Response:
        """Fetch the predictions of a fold."""
        demand_data_jobs()
        scoring = get_running_scoring(owner, databoard_s, attempt)
        return jsonify(dump_scored_fold(get_scored_fold(scoring, databoard_sf_id)))


@blueprint.route(f"{SCORING}/lease/")
class ScoringLease(MethodView):
    """The lease of a running scoring."""

    @allow(Role.WORKER)
    @blueprint.response(200, LeaseSchema)
    def post(self, owner: int, databoard_s: int, attempt: int) -> Response:
        """Renew the lease."""
        demand_data_jobs()
        renew_scoring_lease(owner, databoard_s, attempt)
        return dump_lease()


@blueprint.route(f"{SCORING}/release/")
class ScoringRelease(MethodView):
    """A scoring that a worker can't finish."""

    @allow(Role.WORKER)
    @blueprint.doc(parameters=[ANY_PROTOCOL_PARAMETER])
    @blueprint.arguments(ReleaseInputSchema)
    @blueprint.response(200, DoneSchema)
    def post(self, payload: dict[str, Any], owner: int, databoard_s: int, attempt: int) -> Response:
        """Give it back; no loss is charged."""
        demand_data_jobs()
        release_scoring(owner, databoard_s, attempt)
        return jsonify({})


@blueprint.route(f"{SCORING}/result/")
class ScoringResult(MethodView):
    """The scores of a submission."""

    @allow(Role.WORKER)
    @blueprint.doc(parameters=[DIGEST_PARAMETER])
    @blueprint.arguments(ScoringResultInputSchema)
    @blueprint.response(200, DoneSchema)
    def post(self, payload: dict[str, Any], owner: int, databoard_s: int, attempt: int) -> Response:
        """Deliver the scores."""
        demand_data_jobs()
        check_digest()
        finish_scoring(owner, databoard_s, attempt, payload)
        return jsonify({})
