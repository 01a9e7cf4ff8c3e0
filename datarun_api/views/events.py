"""What happens to an account's folds, as Server-Sent Events."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import orjson
from flask import Response, stream_with_context
from flask.views import MethodView
from sqlalchemy.exc import OperationalError

from datarun_api.auth import allow, get_account
from datarun_api.blueprints import Blueprint
from datarun_api.events import Place, find_place, list_events
from datarun_api.extensions import release_connection
from datarun_api.schemas import (
    MAX_STREAM,
    ErrorSchema,
    EventHeaderSchema,
    EventQuerySchema,
    EventSchema,
)
from datarun_api.waiting import Waiter, get_listener
from datarun_api.wire import dump_event
from datarun_client.states import Role

blueprint = Blueprint("events", __name__, description="What happens to folds.")

RECONNECT = 2000
"""Milliseconds after which a client connects again."""

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent: it finds clients that have gone."""

logger = logging.getLogger(__name__)

LOST = b'event: reset\ndata: {"reason": "older events are gone; look at the folds again"}\n'


@blueprint.route("/events/")
class EventList(MethodView):
    """The account's events."""

    @allow(Role.ADMIN, Role.PLATFORM, Role.VIEWER)
    @blueprint.arguments(EventHeaderSchema, location="headers")
    @blueprint.arguments(EventQuerySchema, location="query")
    @blueprint.response(200, EventSchema, content_type="text/event-stream")
    @blueprint.alt_response(503, schema=ErrorSchema, description="Too many listen already.")
    def get(self, headers: dict[str, Any], query: dict[str, Any]) -> Response:
        """Follow the changes of the folds' states as Server-Sent Events.

        Each is an event `fold` with a number; `Last-Event-ID` goes on after one. An event `reset`
        says that some are gone.
        """
        owner_id = get_account().namespace
        waiter = get_listener().add(owner_id)
        try:
            place = find_place(owner_id, headers.get("last_event_id"))
            response = Response(
                stream_with_context(stream_events(owner_id, place, waiter, query["wait"])),
                mimetype="text/event-stream",
            )
        except BaseException:
            get_listener().remove(waiter)
            raise
        # Also of a stream that never begins.
        listener = get_listener()
        response.call_on_close(lambda: listener.remove(waiter))
        response.headers["Cache-Control"] = "no-cache"
        # nginx would keep events until it has a buffer full of them.
        response.headers["X-Accel-Buffering"] = "no"
        return response


def stream_events(owner_id: int, place: Place, waiter: Waiter, seconds: float) -> Iterator[bytes]:
    """Write an account's events as they come, for some seconds.

    Then its client connects again, with credentials that hold.

    When PostgreSQL is away the stream ends; its client connects again and goes on from there.
    """
    try:
        yield from follow_events(owner_id, place, waiter, seconds)
    except OperationalError as error:
        logger.warning("a stream of events ends: %s", error.__class__.__name__)


def follow_events(
    owner_id: int, place: Place, waiter: Waiter, seconds: float = MAX_STREAM
) -> Iterator[bytes]:
    """Write an account's events until the stream has lasted long enough.

    Raises
    ------
    OperationalError
        If PostgreSQL is away.
    """
    end = time.monotonic() + min(seconds, MAX_STREAM)
    last_id = place.last_id
    # A client that doesn't read what it is sent must not keep a connection for as long.
    release_connection()
    yield b"retry: %d\nid: %d\n%s\n" % (RECONNECT, last_id, LOST if place.was_lost else b"")
    while (left := end - time.monotonic()) > 0:
        events = [(event.id, dump_event(event)) for event in list_events(owner_id, last_id)]
        release_connection()
        for number, event in events:
            last_id = number
            yield b"id: %d\nevent: fold\ndata: %s\n\n" % (number, orjson.dumps(event))
        if not events:
            waiter.wait(min(left, HEARTBEAT))
            yield b":\n\n"
