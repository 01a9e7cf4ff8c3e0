"""Who may call what: one row for each call, held against the API and its document.

A new call fails `test_every_call_has_a_row` until it has its row here.
"""

import re

import pytest

from datarun_api.openapi import ROLES
from datarun_client import PROTOCOL, PROTOCOL_HEADER
from datarun_client.states import Role

EVERYBODY = None
READERS = {Role.ADMIN, Role.PLATFORM, Role.VIEWER}
PLATFORMS = {Role.ADMIN, Role.PLATFORM}
WORKERS = {Role.WORKER}

FOLD = "/runapp/worker/folds/<owner>/<databoard_sf_id>/<attempt>"
SPLIT = "/runapp/worker/splits/<raw_data>/<attempt>"
SCORING = "/runapp/worker/scorings/<owner>/<databoard_s>/<attempt>"

TABLE = {
    "GET /health": EVERYBODY,
    "GET /openapi.json": EVERYBODY,
    "GET /docs": EVERYBODY,
    "GET /docs/documentation.js": EVERYBODY,
    "GET /docs/<name>": EVERYBODY,
    "GET /runapp/rawdata/": READERS,
    "POST /runapp/rawdata/": PLATFORMS,
    "DELETE /runapp/rawdata/<raw_data_id>/": PLATFORMS,
    "POST /runapp/rawdata/split/": PLATFORMS,
    "POST /runapp/raw_data/split/": PLATFORMS,
    "POST /runapp/rawdata/customsplit/": PLATFORMS,
    "GET /runapp/submissionfold/": READERS,
    "POST /runapp/submissionfold/": PLATFORMS,
    "GET /runapp/submissionfold/<databoard_sf_id>/": READERS,
    "DELETE /runapp/submissionfold/<databoard_sf_id>/": PLATFORMS,
    "GET /runapp/submissionfold/<databoard_sf_id>/attempts/": READERS,
    "GET /runapp/submissionfold/<databoard_sf_id>/predictions/<part>/": READERS,
    "GET /runapp/submissionfold-light/": READERS,
    "GET /runapp/free-numbers/": PLATFORMS,
    "DELETE /runapp/submission/<databoard_s_id>/": PLATFORMS,
    "GET /runapp/uploads/": PLATFORMS,
    "POST /runapp/uploads/": PLATFORMS,
    "GET /runapp/uploads/<upload_id>/": PLATFORMS,
    "DELETE /runapp/uploads/<upload_id>/": PLATFORMS,
    "PUT /runapp/uploads/<upload_id>/parts/<offset>/": PLATFORMS,
    "GET /runapp/rawdata/<raw_data_id>/files/": READERS,
    "GET /runapp/rawdata/<raw_data_id>/files/<name>": PLATFORMS,
    "GET /runapp/submission/<databoard_s_id>/files/": READERS,
    "GET /runapp/submission/<databoard_s_id>/files/<name>": READERS,
    "POST /runapp/testpredictions/list/": PLATFORMS,
    "POST /runapp/testpredictions/new/": PLATFORMS,
    "GET /runapp/events/": READERS,
    "GET /runapp/rawdata/<raw_data_id>/webhooks/": PLATFORMS,
    "POST /runapp/rawdata/<raw_data_id>/webhooks/": PLATFORMS,
    "DELETE /runapp/rawdata/<raw_data_id>/webhooks/<webhook_id>/": PLATFORMS,
    "POST /runapp/rawdata/<raw_data_id>/webhooks/<webhook_id>/enable/": PLATFORMS,
    "GET /runapp/rawdata/<raw_data_id>/webhooks/<webhook_id>/deliveries/": PLATFORMS,
    "GET /runapp/workers/": READERS,
    "GET /runapp/queues/": READERS,
    "POST /runapp/worker/heartbeat/": WORKERS,
    "POST /runapp/worker/folds/claim/": WORKERS,
    f"GET {FOLD}/files/<sha256>/": WORKERS,
    f"POST {FOLD}/phase/": WORKERS,
    f"POST {FOLD}/log/": WORKERS,
    f"POST {FOLD}/lease/": WORKERS,
    f"POST {FOLD}/release/": WORKERS,
    f"POST {FOLD}/result/": WORKERS,
    "POST /runapp/worker/splits/claim/": WORKERS,
    f"GET {SPLIT}/files/<sha256>/": WORKERS,
    f"PUT {SPLIT}/files/<sha256>/": WORKERS,
    f"POST {SPLIT}/lease/": WORKERS,
    f"POST {SPLIT}/release/": WORKERS,
    f"POST {SPLIT}/result/": WORKERS,
    "GET /runapp/submission/<databoard_s_id>/": READERS,
    "POST /runapp/worker/scorings/claim/": WORKERS,
    f"GET {SCORING}/files/<sha256>/": WORKERS,
    f"GET {SCORING}/folds/<databoard_sf_id>/": WORKERS,
    f"POST {SCORING}/lease/": WORKERS,
    f"POST {SCORING}/release/": WORKERS,
    f"POST {SCORING}/result/": WORKERS,
}

CONVERTER, BRACKETS = re.compile(r"<[^<>]+:([^:<>]+)>"), r"<\1>"
ARGUMENT = re.compile("<[^<>]+>")
NUMBER = "2147483647"
"""A number and a name that nothing has."""

NOTHING = {"<part>": "test", "<upload_id>": "00000000-0000-0000-0000-000000000000"}
"""What stands in the address instead, where that is no number."""


def test_every_call_has_a_row(app):
    calls = {
        f"{method} {CONVERTER.sub(BRACKETS, rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    missing, gone = sorted(calls - TABLE.keys()), sorted(TABLE.keys() - calls)

    assert missing == [], f"say in TABLE of {__file__} which roles may call these: {missing}"
    assert gone == [], f"take these out of TABLE of {__file__}: {gone}"


def test_the_document_says_what_the_table_says(app):
    document = app.test_client().get("/openapi.json").json

    for call, roles in TABLE.items():
        method, _, path = call.partition(" ")
        operation = document["paths"].get(ARGUMENT.sub(lambda name: f"{{{name[0][1:-1]}}}", path))
        if operation:
            assert set(operation[method.lower()].get(ROLES, [])) == set(roles or []), call


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_its_part_and_no_more(add_caller, role):
    caller = add_caller(role)

    for call, roles in TABLE.items():
        if roles is not EVERYBODY:
            response = send(caller, call, caller.headers)
            assert (response.status_code == 403) is (role not in roles), call
            assert response.status_code != 401, call


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nobody's"}])
def test_a_stranger_may_only_look_at_what_is_for_everybody(platform, headers):
    for call, roles in TABLE.items():
        response = send(platform, call, headers)
        assert (response.status_code == 401) is (roles is not EVERYBODY), call


def send(caller, call, headers):
    """Send a request that finds nothing to do, and read no more than the status of the answer."""
    method, _, path = call.partition(" ")
    with caller.app.app_context():
        response = caller.app.test_client().open(
            ARGUMENT.sub(lambda name: NOTHING.get(name[0], NUMBER), path),
            method=method,
            headers={PROTOCOL_HEADER: str(PROTOCOL), **headers},
            json={} if method == "POST" else None,
        )
        response.close()
        return response
