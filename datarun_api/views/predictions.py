"""Predictions of folds, handed out."""

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify, request
from flask.views import MethodView
from sqlalchemy import ColumnElement

from datarun_api.acknowledgement import hand_out_page
from datarun_api.auth import allow, get_account
from datarun_api.blueprints import ID, Blueprint
from datarun_api.errors import BadInputError
from datarun_api.folds import is_among, lock_new, mark_handed_out
from datarun_api.idempotency import HEADER
from datarun_api.listing import Listing, send_all
from datarun_api.models import SubmissionFold
from datarun_api.negotiation import (
    BINARY,
    JSON,
    NPY,
    PART_OF_IT,
    RANGE_HEADERS,
    UNCHANGED,
    ZIP,
    choose_type,
)
from datarun_api.predictions import PARTS, get_predictions, send_archive, send_array, send_npy
from datarun_api.raw_data import get_raw_data
from datarun_api.schemas import (
    ArraySchema,
    ErrorSchema,
    PredictionListInputSchema,
    PredictionNewInputSchema,
    PredictionPageSchema,
    PredictionSchema,
    WaitSchema,
)
from datarun_api.waiting import wait_for
from datarun_api.wire import PREDICTION_FIELDS, dump_prediction
from datarun_client.states import Role, State

blueprint = Blueprint("testpredictions", __name__, description="Predictions of folds.")


@blueprint.route("/testpredictions/list/")
class GetTestPredictionList(MethodView):
    """Predictions of the folds of a list."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.arguments(PredictionListInputSchema)
    @blueprint.response(200, PredictionSchema(many=True))
    @blueprint.doc(responses={200: {"content": {ZIP: {"schema": BINARY}}}})
    @blueprint.alt_response(406, "NOT_ACCEPTABLE")
    def post(self, payload: dict[str, Any]) -> Response:
        """Get predictions and measures of the folds of a list, again and again."""
        send = choose_type({JSON: send_all, ZIP: send_archive})
        owner_id, numbers = get_account().namespace, payload["list_submission_fold"]
        mark_handed_out(owner_id, numbers)
        return send(list_predictions(owner_id, numbers))


@blueprint.route("/testpredictions/new/")
class GetTestPredictionNew(MethodView):
    """Predictions that weren't handed out yet."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.arguments(PredictionNewInputSchema)
    @blueprint.arguments(WaitSchema, location="query")
    @blueprint.response(
        200,
        {"oneOf": [{"type": "array", "items": PredictionSchema}, PredictionPageSchema]},
        description="A list; with `ack` the acknowledging form.",
    )
    @blueprint.alt_response(404, schema=ErrorSchema, description="There is no such data set.")
    def post(self, payload: dict[str, Any], query: dict[str, Any]) -> Response:
        """Get predictions and measures that are new; if there are none, wait for them.

        Without `ack` each fold is handed out once, and with `ack` until that is acknowledged.
        """
        check_no_key(query["wait"])
        owner_id = get_account().namespace
        raw_data_id = payload["raw_data_id"]
        if raw_data_id is not None:
            get_raw_data(owner_id, raw_data_id, "raw_data_id")
        if payload["ack"] is None:
            numbers = wait_for(owner_id, query["wait"], lambda: lock_new(owner_id, raw_data_id))
            return hand_out(owner_id, numbers)
        page = wait_for(
            owner_id,
            query["wait"],
            lambda: hand_out_page(owner_id, raw_data_id, payload["ack"], payload["limit"]),
        )
        return jsonify(predictions=[dump_prediction(fold) for fold in page.folds], ack=page.cursor)


@blueprint.route(
    f"/submissionfold/<{ID}:databoard_sf_id>/predictions/<any({','.join(PARTS)}):part>/"
)
class PredictionDetail(MethodView):
    """One fold's predictions of one set, with type and shape."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.response(200, BINARY, content_type=NPY, headers=RANGE_HEADERS)
    @blueprint.doc(responses={200: {"content": {JSON: {"schema": ArraySchema}}}})
    @blueprint.alt_response(
        206, schema=BINARY, content_type=NPY, description=PART_OF_IT, success=True
    )
    @blueprint.alt_response(304, description=UNCHANGED)
    @blueprint.alt_response(406, "NOT_ACCEPTABLE")
    @blueprint.alt_response(416, "REQUESTED_RANGE_NOT_SATISFIABLE")
    def get(self, databoard_sf_id: int, part: str) -> Response:
        """Get one fold's predictions: as an ``.npy`` file, or as text in JSON."""
        send = choose_type({NPY: send_npy, JSON: send_array})
        return send(get_predictions(get_account().namespace, databoard_sf_id, part))


def list_predictions(
    owner_id: int, numbers: Sequence[int], *conditions: ColumnElement[bool]
) -> Listing:
    """List the predictions of an account's folds that have these numbers."""
    owned = [SubmissionFold.owner_id == owner_id, is_among(numbers), *conditions]
    return Listing(SubmissionFold.databoard_sf_id, PREDICTION_FIELDS, owned)


def hand_out(owner_id: int, numbers: Sequence[int]) -> Response:
    """Send predictions that were locked, and note that they are handed out.

    Not before the first piece of them was read, which mostly is all: should PostgreSQL fail until
    then, they stay new.
    """
    if not numbers:
        return jsonify([])
    # One that is run again while the others are sent has no predictions any more.
    is_tested = SubmissionFold.state == State.TESTED
    response = send_all(list_predictions(owner_id, numbers, is_tested))
    mark_handed_out(owner_id, numbers)
    return response


def check_no_key(wait: int) -> None:
    """Refuse to wait inside the transaction that an `Idempotency-Key` needs.

    Raises
    ------
    BadInputError
        If the request has such a key and wants to wait.
    """
    if wait and HEADER in request.headers:
        text = f"Doesn't go with {HEADER}; with `ack` a lost answer loses nothing."
        raise BadInputError(text, {"wait": [text]})
