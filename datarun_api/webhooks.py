"""Webhooks of data sets: who is called when a fold gets one of some states.

Signed as https://www.standardwebhooks.com/ says. `deliveries` calls them.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from flask import current_app
from sqlalchemy import select

from datarun_api.errors import BadInputError, ConflictError, NotFoundError
from datarun_api.events import find_place
from datarun_api.extensions import db
from datarun_api.models import FoldEvent, Webhook, WebhookDelivery
from datarun_api.outbound import AddressError, check_url
from datarun_api.raw_data import get_raw_data
from datarun_client.states import State

MAX_WEBHOOKS = 10
"""Webhooks of a data set."""

MAX_LISTED = 100
"""Deliveries of a webhook that are shown."""

SECRET_PREFIX = "whsec_"  # noqa: S105  # the standard's word
SECRET_BYTES = 32


def create_webhook(owner_id: int, raw_data_id: int, url: str, states: Sequence[State]) -> Webhook:
    """Let an address be called about a data set's folds from now on.

    Raises
    ------
    NotFoundError
        If there is no such data set.
    BadInputError
        If the address can't be called, or may not.
    ConflictError
        If there are enough already.
    """
    raw_data = get_raw_data(owner_id, raw_data_id, "raw_data_id", lock=True)
    try:
        check_url(url, current_app.config["WEBHOOK_NETWORKS"])
    except AddressError as error:
        raise BadInputError("The address can't be used.", {"url": [str(error)]}) from None
    if len(list_webhooks(owner_id, raw_data_id)) >= MAX_WEBHOOKS:
        raise ConflictError(f"A data set has at most {MAX_WEBHOOKS} webhooks; delete one first.")
    webhook = Webhook(
        raw_data_id=raw_data.id,
        url=url,
        states=[state.value for state in states],
        secret=secrets.token_bytes(SECRET_BYTES),
        last_event_id=find_place(owner_id, None).last_id,
    )
    db.session.add(webhook)
    db.session.commit()
    return webhook


def list_webhooks(owner_id: int, raw_data_id: int) -> Sequence[Webhook]:
    """List a data set's webhooks, the oldest first.

    Raises
    ------
    NotFoundError
        If there is no such data set.
    """
    raw_data = get_raw_data(owner_id, raw_data_id, "raw_data_id")
    query = select(Webhook).where(Webhook.raw_data_id == raw_data.id)
    return db.session.scalars(query.order_by(Webhook.id)).all()


def get_webhook(owner_id: int, raw_data_id: int, webhook_id: int) -> Webhook:
    """Find a data set's webhook.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    raw_data = get_raw_data(owner_id, raw_data_id, "raw_data_id")
    webhook = db.session.get(Webhook, webhook_id)
    if webhook is None or webhook.raw_data_id != raw_data.id:
        raise NotFoundError(f"Data set {raw_data_id} has no webhook {webhook_id}.")
    return webhook


def delete_webhook(owner_id: int, raw_data_id: int, webhook_id: int) -> None:
    """Call an address no more; errors as of `get_webhook`."""
    db.session.delete(get_webhook(owner_id, raw_data_id, webhook_id))
    db.session.commit()


def enable_webhook(owner_id: int, raw_data_id: int, webhook_id: int) -> Webhook:
    """Call an address again that was disabled; errors as of `get_webhook`.

    What happened meanwhile, as far as its events are kept, is delivered too.
    """
    webhook = get_webhook(owner_id, raw_data_id, webhook_id)
    webhook.recover()
    db.session.commit()
    return webhook


def list_deliveries(webhook: Webhook) -> Sequence[tuple[WebhookDelivery, FoldEvent]]:
    """List a webhook's last deliveries with their events, the newest first."""
    query = (
        select(WebhookDelivery, FoldEvent)
        .join(FoldEvent, FoldEvent.id == WebhookDelivery.event_id)
        .where(WebhookDelivery.webhook_id == webhook.id)
        .order_by(WebhookDelivery.event_id.desc())
        .limit(MAX_LISTED)
    )
    return [(delivery, event) for delivery, event in db.session.execute(query)]


def show_secret(secret: bytes) -> str:
    """Write a webhook's secret as the standard wants it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign a message as the standard wants it.

    Parameters
    ----------
    secret : bytes
    message_id : str
    timestamp : int
        Seconds since the epoch.
    body : bytes

    Returns
    -------
    str
        The ``webhook-signature`` header.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
