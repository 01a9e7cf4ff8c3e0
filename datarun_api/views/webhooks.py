"""Webhooks of data sets."""

from typing import Any

from flask import Response, jsonify
from flask.views import MethodView

from datarun_api.auth import allow, get_account
from datarun_api.blueprints import ID, Blueprint
from datarun_api.schemas import (
    DeliverySchema,
    ErrorSchema,
    WebhookCreatedSchema,
    WebhookInputSchema,
    WebhookSchema,
)
from datarun_api.webhooks import (
    create_webhook,
    delete_webhook,
    enable_webhook,
    get_webhook,
    list_deliveries,
    list_webhooks,
    show_secret,
)
from datarun_api.wire import dump_delivery, dump_webhook
from datarun_client.states import Role

blueprint = Blueprint("webhooks", __name__, description="Who is called about a data set's folds.")

WEBHOOKS = f"/rawdata/<{ID}:raw_data_id>/webhooks"
WEBHOOK = f"{WEBHOOKS}/<{ID}:webhook_id>"


@blueprint.route(f"{WEBHOOKS}/")
class WebhookList(MethodView):
    """A data set's webhooks."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(200, WebhookSchema(many=True))
    @blueprint.alt_response(404, schema=ErrorSchema)
    def get(self, raw_data_id: int) -> Response:
        """List a data set's webhooks, without their secrets."""
        webhooks = list_webhooks(get_account().namespace, raw_data_id)
        return jsonify([dump_webhook(webhook) for webhook in webhooks])

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.arguments(WebhookInputSchema)
    @blueprint.response(201, WebhookCreatedSchema)
    @blueprint.alt_response(404, schema=ErrorSchema)
    @blueprint.alt_response(409, schema=ErrorSchema, description="There are enough already.")
    def post(self, payload: dict[str, Any], raw_data_id: int) -> tuple[Response, int]:
        """Add a webhook; the answer shows its secret, once."""
        webhook = create_webhook(get_account().namespace, raw_data_id, **payload)
        response = jsonify(**dump_webhook(webhook), secret=show_secret(webhook.secret))
        response.cache_control.no_store = True
        return response, 201


@blueprint.route(f"{WEBHOOK}/")
class WebhookDetail(MethodView):
    """One webhook."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(204)
    @blueprint.alt_response(404, schema=ErrorSchema)
    def delete(self, raw_data_id: int, webhook_id: int) -> Response:
        """Delete a webhook and what it was still to be called about."""
        delete_webhook(get_account().namespace, raw_data_id, webhook_id)
        return Response(status=204)


@blueprint.route(f"{WEBHOOK}/enable/")
class WebhookEnable(MethodView):
    """A webhook that was disabled."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(200, WebhookSchema)
    @blueprint.alt_response(404, schema=ErrorSchema)
    def post(self, raw_data_id: int, webhook_id: int) -> Response:
        """Call a webhook again that failed for too long."""
        webhook = enable_webhook(get_account().namespace, raw_data_id, webhook_id)
        return jsonify(dump_webhook(webhook))


@blueprint.route(f"{WEBHOOK}/deliveries/")
class DeliveryList(MethodView):
    """What a webhook was called about."""

    @allow(Role.ADMIN, Role.PLATFORM)
    @blueprint.response(200, DeliverySchema(many=True))
    @blueprint.alt_response(404, schema=ErrorSchema)
    def get(self, raw_data_id: int, webhook_id: int) -> Response:
        """List a webhook's last hundred deliveries, the newest first."""
        webhook = get_webhook(get_account().namespace, raw_data_id, webhook_id)
        deliveries = list_deliveries(webhook)
        return jsonify([dump_delivery(delivery, event) for delivery, event in deliveries])
