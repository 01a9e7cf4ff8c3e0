"""Bodies that are received before anything is held for them."""

import hashlib
import json
import socket
import uuid
from urllib.parse import urlsplit

import pytest

from datarun_api.body_spool import BodyDigest
from datarun_api.extensions import db
from tests.api.payloads import make_raw_data
from tests.conftest import wait_until

RAW = "application/octet-stream"


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("kind", [RAW, "application/json", "multipart/form-data; boundary=here"])
def test_a_body_that_comes_slowly_holds_no_connection(app, api_url, platform, context, keyed, kind):
    # Given an account that this process doesn't know yet
    context.extensions["datarun_credentials"]._accounts.clear()
    path = "uploads/" if kind == RAW else "rawdata/"
    body = json.dumps(make_raw_data()).encode()
    if kind.startswith("multipart"):
        head = b'--here\r\nContent-Disposition: form-data; name="json"\r\n\r\n'
        body = head + body + b"\r\n--here--\r\n"
    headers = {**platform.headers, "Content-Type": kind, "Content-Length": len(body)}
    if keyed:
        headers["Idempotency-Key"] = str(uuid.uuid4())
    lines = [f"POST /runapp/{path} HTTP/1.1", "Host: here", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]

    # When the first half of the request has come
    address = urlsplit(api_url)
    with socket.create_connection((address.hostname, address.port)) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode() + body[:20])
        remembered = context.extensions["datarun_credentials"]._accounts
        wait_until(lambda: len(remembered), "the request to be read")

        # Then nothing is held for it
        wait_until(lambda: db.engine.pool.checkedout() == 0, "the connection to be given back", 5)
        client.sendall(body[20:])
        answer = client.makefile("rb").readline()

    assert b" 201 " in answer


def test_a_body_is_refused_that_is_larger_than_its_kind_may_be(platform, context, monkeypatch):
    monkeypatch.setitem(context.config, "MAX_UPLOAD", 1000)
    monkeypatch.setitem(context.config, "MAX_JSON", 500)
    key = {"Idempotency-Key": str(uuid.uuid4())}

    def post(kind, size):
        return platform.post("uploads/", headers=key, data=bytes(size), content_type=kind)

    assert post(RAW, 1001).status_code == 413
    assert post("application/json", 501).status_code == 413
    assert post(RAW, 1000).status_code == 201


def test_what_is_ignored_is_found_wherever_a_body_is_cut():
    def hash_body(body, ignored, size):
        digest = BodyDigest(ignored)
        for place in range(0, len(body), size):
            digest.update(body[place : place + size])
        return digest.finish()

    digests = {
        hash_body(b"--" + boundary + b"\r\nabc\r\n--" + boundary + b"--", boundary, size)
        for boundary in (b"one", b"another")
        for size in (1, 2, 3, 5, 100)
    }

    assert digests == {hashlib.sha256(b"--\r\nabc\r\n----").digest()}
