"""Predictions of folds, handed out."""

from typing import Any

from flask import Response, jsonify
from flask.views import MethodView

from datarun_api.auth import allow, get_account
from datarun_api.blueprints import Blueprint
from datarun_api.folds import hand_out_list, hand_out_new
from datarun_api.raw_data import get_raw_data
from datarun_api.schemas import (
    ErrorSchema,
    PredictionListInputSchema,
    PredictionNewInputSchema,
    PredictionSchema,
)
from datarun_api.wire import dump_prediction
from datarun_client.states import Role

blueprint = Blueprint("testpredictions", __name__, description="Predictions of folds.")


@blueprint.route("/testpredictions/list/")
class GetTestPredictionList(MethodView):
    """Predictions of the folds of a list."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.arguments(PredictionListInputSchema)
    @blueprint.response(200, PredictionSchema(many=True))
    def post(self, payload: dict[str, Any]) -> Response:
        """Get predictions and measures of the folds of a list, again and again."""
        folds = hand_out_list(get_account().namespace, payload["list_submission_fold"])
        return jsonify([dump_prediction(fold) for fold in folds])


@blueprint.route("/testpredictions/new/")
class GetTestPredictionNew(MethodView):
    """Predictions that weren't handed out yet."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.arguments(PredictionNewInputSchema)
    @blueprint.response(200, PredictionSchema(many=True))
    @blueprint.alt_response(404, schema=ErrorSchema, description="There is no such data set.")
    def post(self, payload: dict[str, Any]) -> Response:
        """Get, once, predictions and measures of the folds that weren't handed out yet."""
        owner_id = get_account().namespace
        raw_data_id = payload["raw_data_id"]
        if raw_data_id is not None:
            get_raw_data(owner_id, raw_data_id, "raw_data_id")
        return jsonify([dump_prediction(fold) for fold in hand_out_new(owner_id, raw_data_id)])
