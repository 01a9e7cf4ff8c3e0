"""Data sets and their splits."""

from typing import Any

from flask import Response, jsonify
from flask.views import MethodView

from datarun_api.auth import allow, get_account
from datarun_api.blueprints import ID, Blueprint
from datarun_api.bodies import describe_body, read_body
from datarun_api.list_schemas import RawDataEntrySchema, RawDataListQuerySchema
from datarun_api.listing import HEADERS, Listing, send_list
from datarun_api.models import RawData
from datarun_api.negotiation import UNCHANGED
from datarun_api.posted_files import load_post
from datarun_api.raw_data import create_raw_data, delete_raw_data, request_split
from datarun_api.schemas import (
    CustomSplitInputSchema,
    ErrorSchema,
    RawDataInputSchema,
    RawDataSchema,
    SplitInputSchema,
    TaskSchema,
)
from datarun_api.wire import RAW_DATA_FIELDS, dump_raw_data
from datarun_client.states import Role

blueprint = Blueprint("rawdata", __name__, description="Data sets and their splits.")


@blueprint.route("/rawdata/")
class RawDataList(MethodView):
    """List all data sets, or submit a new one."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.arguments(RawDataListQuerySchema, location="query")
    @blueprint.response(200, RawDataEntrySchema(many=True), headers=HEADERS)
    @blueprint.alt_response(304, description=UNCHANGED)
    def get(self, query: dict[str, Any]) -> Response:
        """List all data sets, or a page of them."""
        owned = RawData.owner_id == get_account().namespace
        page = {"names": RAW_DATA_FIELDS, **query}
        return send_list(Listing(RawData.id, conditions=[owned], **page))

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.doc(requestBody=describe_body(RawDataInputSchema))
    @blueprint.response(201, RawDataSchema)
    @blueprint.alt_response(200, schema=RawDataSchema, description="The same was there already.")
    @blueprint.alt_response(409, schema=ErrorSchema, description="The name is taken.")
    def post(self) -> tuple[Response, int]:
        """Create a data set."""
        with read_body() as body:
            payload = load_post(RawDataInputSchema(), body, needs_files=True)
            raw_data, created = create_raw_data(get_account().namespace, payload)
        return jsonify(dump_raw_data(raw_data)), 201 if created else 200


@blueprint.route(f"/rawdata/<{ID}:raw_data_id>/")
class RawDataDetail(MethodView):
    """One data set."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(204)
    @blueprint.alt_response(404, schema=ErrorSchema)
    def delete(self, raw_data_id: int) -> Response:
        """Delete a data set with its submissions and folds; what runs is stopped."""
        delete_raw_data(get_account().namespace, raw_data_id)
        return Response(status=204)


@blueprint.route("/rawdata/split/")
@blueprint.route("/raw_data/split/")
class SplitTrainTest(MethodView):
    """Split a data set into train and test."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.arguments(SplitInputSchema)
    @blueprint.response(201, TaskSchema)
    @blueprint.alt_response(200, schema=TaskSchema, description="It was asked for before.")
    @blueprint.alt_response(404, schema=ErrorSchema, description="There is no such data set.")
    @blueprint.alt_response(409, schema=ErrorSchema, description="Folds rely on another split.")
    def post(self, payload: dict[str, Any]) -> tuple[Response, int]:
        """Ask for the split of a data set; a job does it."""
        raw_data, started = request_split(get_account().namespace, by_own_reader=False, **payload)
        return jsonify(task_id=raw_data.split_job_id), 201 if started else 200


@blueprint.route("/rawdata/customsplit/")
class CustomSplitTrainTest(MethodView):
    """Split a data set by its own reader."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.arguments(CustomSplitInputSchema)
    @blueprint.response(201, TaskSchema)
    @blueprint.alt_response(200, schema=TaskSchema, description="It was asked for before.")
    @blueprint.alt_response(404, schema=ErrorSchema, description="There is no such data set.")
    @blueprint.alt_response(409, schema=ErrorSchema, description="Folds rely on another split.")
    def post(self, payload: dict[str, Any]) -> tuple[Response, int]:
        """Ask for the split by the data set's own reader; a job does it."""
        raw_data, started = request_split(get_account().namespace, by_own_reader=True, **payload)
        return jsonify(task_id=raw_data.split_job_id), 201 if started else 200
