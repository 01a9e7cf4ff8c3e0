"""What calls webhooks: a thread beside the reconciler.

::

    fold_event ──► a delivery for each webhook that wants it ──► called, again and again ──► done

**At least once.** A delivery is a row, made once for a webhook and an event. It is taken with a
lease, called, and then marked; whoever dies in between leaves a row that is due again when the
lease is over. So a receiver may get a message twice, with the same ``webhook-id``.

**Backoff, twice.** A delivery that failed is tried again after a while, longer each time, until its
event is `GIVE_UP` old. And its webhook pauses, so that an address where nobody answers is called
now and then with one delivery and not with a thousand. One that fails for `GIVE_UP`, or that says
410 Gone, is disabled until its account enables it.

**Nobody waits for another.** A thread calls one webhook at a time, a few deliveries long. Requests
of the API and jobs never call anybody.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import orjson
from flask import Flask, current_app
from sqlalchemy import func, insert, literal, select
from sqlalchemy.exc import SQLAlchemyError

from datarun_api.extensions import db
from datarun_api.models import FoldEvent, RawData, Submission, Webhook, WebhookDelivery
from datarun_api.outbound import AddressError, RequestFailedError, post
from datarun_api.webhooks import sign
from datarun_api.wire import dump_event
from datarun_client import __version__

PERIOD = 1.0
"""Seconds between two looks at what is due."""

N_THREADS = 8
"""Webhooks that are called at once."""

BATCH = 50
TURN = 20.0
"""Deliveries of a webhook in a row, and seconds for them; then the others have their turn."""

LEASE = timedelta(minutes=2)
"""How long a delivery is under way before somebody else tries it."""

RETRY_DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
)
"""How long a delivery waits after its first, second, ... failure; the last one for all others."""

FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=5)
"""How long a webhook pauses after a failure: twice as long after each further one in a row."""

GIVE_UP = timedelta(days=3)
"""For how long a delivery is tried, and for how long a webhook may fail."""

GONE = 410

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def delivering(app: Flask) -> Iterator[None]:
    """Call webhooks for as long as the context lasts."""
    is_stopping = threading.Event()
    thread = threading.Thread(
        target=_deliver_until, args=(app, is_stopping), name="deliveries", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        is_stopping.set()
        thread.join()


def _deliver_until(app: Flask, is_stopping: threading.Event) -> None:
    running: dict[int, Future[None]] = {}
    with app.app_context(), ThreadPoolExecutor(N_THREADS, "webhook") as pool:
        while not is_stopping.is_set():
            try:
                running = {key: future for key, future in running.items() if not future.done()}
                for webhook_id in look_for_due():
                    if webhook_id not in running and len(running) < N_THREADS:
                        running[webhook_id] = pool.submit(_call_in_thread, app, webhook_id)
            except SQLAlchemyError as error:
                logger.warning("can't look for deliveries: %s", error.__class__.__name__)
            finally:
                db.session.remove()
            is_stopping.wait(PERIOD)


def _call_in_thread(app: Flask, webhook_id: int) -> None:
    with app.app_context():
        try:
            call_webhook(webhook_id)
        except SQLAlchemyError as error:
            logger.warning("webhook %d: %s", webhook_id, error.__class__.__name__)
        except Exception:
            # The thread's edge: a bug of ours with one webhook must be seen, and stop no other.
            logger.exception("webhook %d can't be called", webhook_id)


def look_for_due() -> list[int]:
    """Make what deliveries there are to make, and list the webhooks that are to be called now."""
    # Mostly nobody has a webhook, and this is all that a look costs.
    if db.session.scalar(select(Webhook.id).where(Webhook.disabled_at.is_(None)).limit(1)) is None:
        return []
    make_deliveries()
    return list_due()


def make_deliveries() -> None:
    """Make the deliveries of the events that happened since the last look."""
    newest = (
        select(func.max(FoldEvent.id))
        .where(FoldEvent.owner_id == RawData.owner_id)
        .correlate(RawData)
        .scalar_subquery()
    )
    query = (
        select(Webhook, RawData.owner_id, newest)
        .join(RawData, RawData.id == Webhook.raw_data_id)
        .where(Webhook.disabled_at.is_(None), newest > Webhook.last_event_id)
        .with_for_update(of=Webhook, skip_locked=True)
    )
    for webhook, owner_id, last_id in db.session.execute(query).all():
        wanted = (
            select(literal(webhook.id), FoldEvent.id, literal(0), func.now())
            .join(
                Submission,
                (Submission.owner_id == FoldEvent.owner_id)
                & (Submission.databoard_s_id == FoldEvent.databoard_s),
            )
            .where(
                FoldEvent.owner_id == owner_id,
                FoldEvent.id > webhook.last_event_id,
                # Later ones may have come in between, and are for the next look.
                FoldEvent.id <= last_id,
                FoldEvent.state.in_(webhook.states),
                Submission.raw_data_id == webhook.raw_data_id,
            )
        )
        columns = ["webhook_id", "event_id", "n_tries", "next_try_at"]
        db.session.execute(insert(WebhookDelivery).from_select(columns, wanted))
        webhook.last_event_id = last_id
    db.session.commit()


def list_due() -> list[int]:
    """List the webhooks that are to be called now."""
    due = (
        select(WebhookDelivery.event_id)
        .where(WebhookDelivery.webhook_id == Webhook.id, WebhookDelivery.next_try_at <= func.now())
        .exists()
    )
    query = select(Webhook.id).where(
        Webhook.disabled_at.is_(None),
        func.coalesce(Webhook.paused_until, func.now()) <= func.now(),
        due,
    )
    # Those that work before those that failed, but in no order of theirs: a few that answer slowly
    # mustn't be the first ones every time.
    order = (Webhook.paused_until.is_not(None), func.random())
    return list(db.session.scalars(query.order_by(*order)))


def call_webhook(webhook_id: int) -> None:
    """Call a webhook about what is due, until nothing is, it fails, or its turn is over."""
    end = time.monotonic() + TURN
    for _ in range(BATCH):
        delivery = _take(webhook_id)
        if delivery is None:
            return
        webhook = db.session.get_one(Webhook, webhook_id)
        event = db.session.get_one(FoldEvent, delivery.event_id)
        db.session.commit()
        try:
            status, error = _send(webhook, event), None
        except (AddressError, RequestFailedError) as refusal:
            status, error = None, str(refusal)
        if not _note(delivery, status, error) or time.monotonic() > end:
            return


def _take(webhook_id: int) -> WebhookDelivery | None:
    """Take the delivery that is due for the longest time, with a lease."""
    query = (
        select(WebhookDelivery)
        .where(
            WebhookDelivery.webhook_id == webhook_id,
            WebhookDelivery.next_try_at <= func.now(),
        )
        .order_by(WebhookDelivery.next_try_at, WebhookDelivery.event_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    delivery: WebhookDelivery | None = db.session.scalar(query)
    if delivery is not None:
        delivery.n_tries += 1
        delivery.next_try_at = func.now() + LEASE
        delivery.tried_at = func.now()
    db.session.commit()
    return delivery


def _send(webhook: Webhook, event: FoldEvent) -> int:
    """Call a webhook about an event.

    Raises
    ------
    AddressError, RequestFailedError
        If there is no answer.
    """
    body = orjson.dumps(
        {
            "type": f"fold.{event.state.lower()}",
            "timestamp": event.created_at,
            "data": {"raw_data": webhook.raw_data_id, **dump_event(event)},
        }
    )
    message_id, timestamp = event.message_id, int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"datarun/{__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(webhook.secret, message_id, timestamp, body),
    }
    return post(webhook.url, body, headers, current_app.config["WEBHOOK_NETWORKS"])


def _note(delivery: WebhookDelivery, status: int | None, error: str | None) -> bool:
    """Note how a try went.

    Returns
    -------
    bool
        Whether the webhook may be called on.
    """
    key = (delivery.webhook_id, delivery.event_id)
    webhook = db.session.get(Webhook, delivery.webhook_id, with_for_update=True)
    kept = db.session.get(WebhookDelivery, key, with_for_update=True)
    if webhook is None or kept is None:
        # Deleted meanwhile.
        db.session.rollback()
        return False
    kept.status, kept.error = status, error
    succeeded = status is not None and 200 <= status < 300
    if succeeded:
        kept.delivered_at = func.now()
        kept.next_try_at = None
        webhook.recover()
    else:
        _note_failure(webhook, kept, status)
    db.session.commit()
    return succeeded


def _note_failure(webhook: Webhook, delivery: WebhookDelivery, status: int | None) -> None:
    now = db.session.scalars(select(func.now())).one()
    event = db.session.get_one(FoldEvent, delivery.event_id)
    delay = RETRY_DELAYS[min(delivery.n_tries, len(RETRY_DELAYS)) - 1]
    delivery.next_try_at = now + delay if now + delay < event.created_at + GIVE_UP else None
    webhook.n_failures += 1
    pause = min(FIRST_PAUSE * 2 ** min(webhook.n_failures - 1, 20), LONGEST_PAUSE)
    webhook.paused_until = now + pause
    webhook.failing_since = webhook.failing_since or now
    if status == GONE or now - webhook.failing_since > GIVE_UP:
        logger.warning("webhook %d fails and is disabled", webhook.id)
        webhook.disabled_at = now
