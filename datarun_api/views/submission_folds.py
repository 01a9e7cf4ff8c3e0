"""Submissions on cross-validation folds."""

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify
from flask.views import MethodView
from sqlalchemy import select

from datarun_api.auth import allow, get_account
from datarun_api.blueprints import ID, Blueprint
from datarun_api.bodies import Body, describe_body, read_body
from datarun_api.errors import BadInputError
from datarun_api.extensions import db
from datarun_api.fold_filters import make_conditions
from datarun_api.fold_intake import BulkError, accept_folds
from datarun_api.folds import cancel_fold, find_free_numbers, get_fold, list_attempts
from datarun_api.list_schemas import (
    FoldLightListQuerySchema,
    FoldListQuerySchema,
    SubmissionFoldEntrySchema,
    SubmissionFoldLightEntrySchema,
)
from datarun_api.listing import HEADERS, Listing, send_list
from datarun_api.models import SubmissionFold
from datarun_api.negotiation import UNCHANGED
from datarun_api.posted_files import load_post
from datarun_api.raw_data import delete_submission
from datarun_api.schemas import (
    AttemptSchema,
    ErrorSchema,
    FreeNumbersSchema,
    SubmissionFoldDetailSchema,
    SubmissionFoldInputSchema,
    SubmissionFoldPostedSchema,
    SubmissionSchema,
    WaitSchema,
)
from datarun_api.scoring import summarize
from datarun_api.waiting import wait_for
from datarun_api.wire import (
    FOLD_FIELDS,
    LIGHT_FIELDS,
    dump_attempt,
    dump_fold_detail,
    dump_posted_fold,
    dump_submission,
)
from datarun_client.states import Role, State

blueprint = Blueprint(
    "submissionfold", __name__, description="Submissions on cross-validation folds."
)

_SCHEMA = SubmissionFoldInputSchema()
"""Made once, as making it takes longer than reading a fold by it."""

FOLDS = {
    "oneOf": [
        SubmissionFoldInputSchema,
        {"type": "array", "items": SubmissionFoldInputSchema, "minItems": 1},
    ]
}
"""A post is one fold, or a list of them."""

POSTED = {
    "oneOf": [
        SubmissionFoldPostedSchema,
        {"type": "array", "items": SubmissionFoldPostedSchema},
    ]
}
"""One fold is answered by one, a list by a list."""


@blueprint.route("/submissionfold/")
class SubmissionFoldList(MethodView):
    """List all folds, or post new ones."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.arguments(FoldListQuerySchema, location="query")
    @blueprint.response(200, SubmissionFoldEntrySchema(many=True), headers=HEADERS)
    @blueprint.alt_response(304, description=UNCHANGED)
    def get(self, query: dict[str, Any]) -> Response:
        """List all folds with all their fields, or some of them."""
        return send_list(make_listing(query, FOLD_FIELDS))

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.doc(requestBody=describe_body(FOLDS))
    @blueprint.response(201, POSTED)
    @blueprint.alt_response(200, schema=POSTED, description="The same was there already.")
    @blueprint.alt_response(404, schema=ErrorSchema, description="There is no such data set.")
    @blueprint.alt_response(409, schema=ErrorSchema, description="What exists says otherwise.")
    def post(self) -> tuple[Response, int]:
        """Post a fold, or a list of folds of which all or none are accepted."""
        with read_body() as body:
            return self._post_many(body) if isinstance(body.json, list) else self._post_one(body)

    def _post_one(self, body: Body) -> tuple[Response, int]:
        payload = load_post(_SCHEMA, body)
        try:
            (item,) = accept_folds(get_account().namespace, [payload])
        except BulkError as error:
            raise error.refusals[0] from None
        return jsonify(dump_posted_fold(item.fold)), 201 if item.started else 200

    def _post_many(self, body: Body) -> tuple[Response, int]:
        accepted = accept_folds(get_account().namespace, load_folds(body))
        started = any(item.started for item in accepted)
        return jsonify([dump_posted_fold(item.fold) for item in accepted]), 201 if started else 200


@blueprint.route(f"/submissionfold/<{ID}:databoard_sf_id>/")
class SubmissionFoldDetail(MethodView):
    """One fold."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.arguments(WaitSchema, location="query")
    @blueprint.response(200, SubmissionFoldDetailSchema)
    @blueprint.alt_response(404, schema=ErrorSchema)
    @blueprint.alt_response(503, schema=ErrorSchema, description="Too many wait already.")
    def get(self, query: dict[str, Any], databoard_sf_id: int) -> Response:
        """Get one fold with all its fields, and how far it is; wait until its state changes."""
        wait_for_change(get_account().namespace, databoard_sf_id, query["wait"])
        return jsonify(dump_fold_detail(get_fold(get_account().namespace, databoard_sf_id)))

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(200, SubmissionFoldDetailSchema)
    @blueprint.alt_response(404, schema=ErrorSchema)
    @blueprint.alt_response(409, schema=ErrorSchema, description="It has ended already.")
    def delete(self, databoard_sf_id: int) -> Response:
        """Cancel a fold, queued or running."""
        return jsonify(dump_fold_detail(cancel_fold(get_account().namespace, databoard_sf_id)))


@blueprint.route(f"/submissionfold/<{ID}:databoard_sf_id>/attempts/")
class SubmissionFoldAttempts(MethodView):
    """The tries at running a fold."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.response(200, AttemptSchema(many=True))
    @blueprint.alt_response(404, schema=ErrorSchema)
    def get(self, databoard_sf_id: int) -> Response:
        """List a fold's attempts, the first one first."""
        fold = get_fold(get_account().namespace, databoard_sf_id)
        attempts = list_attempts(fold.owner_id, databoard_sf_id)
        return jsonify([dump_attempt(attempt, fold) for attempt in attempts])


@blueprint.route(f"/submission/<{ID}:databoard_s_id>/")
class SubmissionDetail(MethodView):
    """One submission."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.response(200, SubmissionSchema)
    def get(self, databoard_s_id: int) -> Response:
        """Get a submission with its scores: over its folds, and of their mean predictions."""
        return jsonify(dump_submission(summarize(get_account().namespace, databoard_s_id)))

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(204)
    @blueprint.alt_response(404, schema=ErrorSchema)
    def delete(self, databoard_s_id: int) -> Response:
        """Delete a submission with its folds; what runs is stopped."""
        delete_submission(get_account().namespace, databoard_s_id)
        return Response(status=204)


@blueprint.route("/free-numbers/")
class FreeNumbers(MethodView):
    """Numbers for a submission and its folds."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(200, FreeNumbersSchema)
    def get(self) -> Response:
        """Say which numbers of a submission and of a fold follow the largest ones.

        Who takes them first has them: a post of numbers that are taken is refused.
        """
        return jsonify(find_free_numbers(get_account().namespace))


@blueprint.route("/submissionfold-light/")
class SubmissionFoldLightList(MethodView):
    """The states of all folds."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.arguments(FoldLightListQuerySchema, location="query")
    @blueprint.response(200, SubmissionFoldLightEntrySchema(many=True), headers=HEADERS)
    @blueprint.alt_response(304, description=UNCHANGED)
    def get(self, query: dict[str, Any]) -> Response:
        """List number, submission, state and ``new`` of all folds, or of some of them."""
        return send_list(make_listing(query, LIGHT_FIELDS))


def make_listing(query: dict[str, Any], names: Sequence[str]) -> Listing:
    """Say which folds of the account that asks are listed, with these fields if no others."""
    conditions = make_conditions(get_account().namespace, query)
    page = {name: query[name] for name in ("limit", "cursor") if name in query}
    names = query.get("names", names)
    return Listing(SubmissionFold.databoard_sf_id, names, conditions, **page)


def wait_for_change(owner_id: int, databoard_sf_id: int, seconds: int) -> None:
    """Wait until a fold has another state than now; not at all if it is final or isn't there."""
    query = select(SubmissionFold.state).where(
        SubmissionFold.owner_id == owner_id, SubmissionFold.databoard_sf_id == databoard_sf_id
    )
    first: State | None = db.session.scalar(query) if seconds else None
    if first is not None and not first.is_final:
        wait_for(owner_id, seconds, lambda: db.session.scalar(query) is not first, databoard_sf_id)


def load_folds(body: Body) -> list[dict[str, Any]]:
    """Check the form of a list of folds.

    Raises
    ------
    BulkError
        If some are malformed; says which and why.
    BadInputError
        If the list is empty, or came in a form with files: whose they are isn't said.
    """
    if body.files:
        raise BadInputError("A form brings one fold's files.", {"json": ["Must be one fold."]})
    loaded = []
    refusals = {}
    for place, item in enumerate(body.json):
        try:
            loaded.append(load_post(_SCHEMA, Body(item, long_texts=body.long_texts)))
        except BadInputError as refusal:
            refusals[place] = refusal
    if refusals:
        raise BulkError(refusals)
    if not loaded:
        raise BadInputError("The list is empty; send at least one fold.")
    return loaded
