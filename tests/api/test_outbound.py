import socket
import ssl
import subprocess
import threading
from ipaddress import ip_address

import pytest

from datarun_api import outbound
from datarun_api.outbound import (
    AddressError,
    RequestFailedError,
    check_address,
    parse_networks,
    post,
)
from tests.api.receiver import receiving

HERE = parse_networks("127.0.0.0/8")


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def resolve(monkeypatch):
    """Let every name have the addresses of a list, in turn."""
    answers = []

    monkeypatch.setattr(outbound, "look_up", lambda host, port: answers.pop(0))
    return answers


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:53aa:64c::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_arent_public_are_refused(text):
    with pytest.raises(AddressError, match="isn't public"):
        check_address(ip_address(text), ())


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_may_be_called(text):
    check_address(ip_address(text), ())


def test_networks_may_be_allowed():
    networks = parse_networks("10.1.0.0/16, ::1")

    check_address(ip_address("10.1.9.9"), networks)
    check_address(ip_address("::1"), networks)
    with pytest.raises(AddressError):
        check_address(ip_address("10.2.0.1"), networks)


def test_what_is_no_network_is_an_error():
    with pytest.raises(ValueError, match="network"):
        parse_networks("10.0.0.0/8,nonsense")


def test_a_message_arrives(receiver):
    status = post(receiver.url, b"body", {"X-Name": "value"}, HERE)

    assert status == 204
    (message,) = receiver.messages
    assert (message.path, message.body) == ("/hook?a=1", b"body")
    assert message.headers["X-Name"] == "value"
    assert message.headers["Host"] == receiver.url.split("/")[2]


def test_a_name_of_a_private_address_is_refused(receiver, resolve):
    resolve.append(["127.0.0.1"])

    with pytest.raises(AddressError, match="isn't public"):
        post(receiver.url.replace("127.0.0.1", "platform.example.org"), b"", {})

    assert receiver.messages == []


def test_the_name_is_looked_up_once_and_the_address_is_kept(receiver, resolve):
    # Given a name that changes its address between two looks
    resolve.extend([["127.0.0.1"], ["10.0.0.1"]])
    url = receiver.url.replace("127.0.0.1", "platform.example.org")

    assert post(url, b"", {}, HERE) == 204

    assert len(resolve) == 1
    assert receiver.messages[0].headers["Host"].startswith("platform.example.org:")


def test_an_address_that_may_be_called_is_taken_before_one_that_may_not(receiver, resolve):
    resolve.append(["10.0.0.1", "127.0.0.1"])

    assert post(receiver.url.replace("127.0.0.1", "platform.example.org"), b"", {}, HERE) == 204


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid", ".invalid"])
def test_a_name_without_an_address_is_told(host):
    with pytest.raises(AddressError, match="has no address"):
        post(f"https://{host}/", b"", {})


def test_no_proxy_of_the_environment_is_used(receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert post(receiver.url, b"", {}, HERE) == 204


@pytest.fixture
def serve():
    """Answer one connection by a function."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        threads = []

        def start(answer):
            def run():
                connection, _ = listener.accept()
                with connection:
                    answer(connection)

            thread = threading.Thread(target=run)
            thread.start()
            threads.append(thread)
            return f"http://127.0.0.1:{listener.getsockname()[1]}/"

        yield start
        for thread in threads:
            thread.join()


def test_one_who_answers_byte_by_byte_is_cut_off(serve):
    gone = threading.Event()

    def drip(connection):
        try:
            while not gone.wait(0.01):
                connection.sendall(b"H")
        except OSError:
            pass

    url = serve(drip)

    with pytest.raises(RequestFailedError):
        post(url, b"", {}, HERE, time_limit=0.3)

    gone.set()


def test_one_who_never_answers_is_cut_off(serve):
    gone = threading.Event()
    url = serve(lambda connection: gone.wait(30))

    with pytest.raises(RequestFailedError):
        post(url, b"", {}, HERE, time_limit=0.3)

    gone.set()


def test_an_endless_answer_is_not_read(serve):
    def pour(connection):
        connection.recv(65536)
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            pass

    assert post(serve(pour), b"", {}, HERE) == 200


def test_what_isnt_http_is_a_failure(serve):
    url = serve(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n"))

    with pytest.raises(RequestFailedError):
        post(url, b"", {}, HERE)


@pytest.fixture
def certificate(tmp_path):
    """A certificate of 127.0.0.1 that nobody knows."""
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=test"),
            *("-addext", "subjectAltName=DNS:platform.example.org"),
            *("-out", files[0], "-keyout", files[1]),
        ],
        check=True,
        capture_output=True,
    )
    return files


@pytest.fixture
def serve_tls(serve, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def answer(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(65536)
                secure.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        except OSError:
            # The other side didn't trust us.
            pass

    return lambda: serve(answer).replace("http:", "https:")


@pytest.mark.parametrize(
    ("name", "is_trusted"), [("platform.example.org", True), ("other.example.org", False)]
)
def test_a_certificate_is_held_against_the_name(
    serve_tls, certificate, resolve, monkeypatch, name, is_trusted
):
    resolve.append(["127.0.0.1"])
    monkeypatch.setattr(
        outbound, "make_tls_context", lambda: ssl.create_default_context(cafile=certificate[0])
    )
    url = serve_tls().replace("127.0.0.1", name)

    if is_trusted:
        assert post(url, b"", {}, HERE) == 202
    else:
        with pytest.raises(RequestFailedError, match="CERTIFICATE_VERIFY_FAILED"):
            post(url, b"", {}, HERE)


def test_a_certificate_that_nobody_vouches_for_is_refused(serve_tls):
    with pytest.raises(RequestFailedError, match="CERTIFICATE_VERIFY_FAILED"):
        post(serve_tls(), b"", {}, HERE)
