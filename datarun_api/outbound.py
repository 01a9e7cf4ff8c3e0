"""Requests that the API sends to addresses which a platform named.

Whoever may name an address could have the API call what only it can reach: the database, a cloud's
metadata, the neighbours. So a name is resolved here, once; an address that isn't public is
refused, unless ``DATARUN_WEBHOOK_NETWORKS`` says that it may be called; and the connection is made
to that very address, so that a second look at the name can't give another one. The certificate is
checked against the name. No redirect is followed, no proxy of the environment is used.

What answers may be hostile, too: of the answer only its status is read, and a request that takes
longer than `TIME_LIMIT` is cut off, however busy the other side keeps it.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Collection, Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from datarun_client.errors import DatarunError

CONNECT_TIME = 5.0
"""Seconds for a connection to one address."""

TIME_LIMIT = 15.0
"""Seconds from the connection to the answer's status."""

MAX_URL = 2000

_TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
"""IPv6 addresses that stand for IPv4 ones."""

Network = IPv4Network | IPv6Network


class AddressError(DatarunError):
    """An address can't be called, or may not."""


class RequestFailedError(DatarunError):
    """A request got no answer."""


def check_url(url: str, networks: Collection[Network] = ()) -> SplitResult:
    """Check an address as far as this is possible without asking anybody.

    Parameters
    ----------
    url : str
    networks : collection of IPv4Network or IPv6Network
        Those that may be called although they aren't public.

    Raises
    ------
    AddressError
        With what is wrong.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise AddressError(f"Write at most {MAX_URL} printable ASCII characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressError(f"This is no address: {error}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise AddressError("Write an address such as https://platform.example.org/datarun.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise AddressError("An address has no user, no password and no fragment here.")
    with contextlib.suppress(ValueError):
        check_address(ip_address(parts.hostname), networks)
    return parts


def check_address(address: IPv4Address | IPv6Address, networks: Collection[Network]) -> None:
    """Refuse an address that isn't public, unless it is in one of some networks.

    Raises
    ------
    AddressError
        If it is refused.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in networks):
        return
    is_hidden = isinstance(address, IPv6Address) and (
        address.is_site_local
        or address.sixtofour is not None
        or address.teredo is not None
        or any(address in network for network in _TRANSLATED)
    )
    if is_hidden or not address.is_global or address.is_multicast or address.is_reserved:
        raise AddressError("The address isn't public; DATARUN_WEBHOOK_NETWORKS would allow it.")


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    networks: Collection[Network] = (),
    time_limit: float = TIME_LIMIT,
) -> int:
    """Post something and give the answer's status.

    Parameters
    ----------
    url : str
    body : bytes
    headers : mapping of str to str
    networks : collection of IPv4Network or IPv6Network
        Those that may be called although they aren't public.
    time_limit : float, optional
        Seconds from the connection to the answer's status.

    Raises
    ------
    AddressError
        If the address can't be called, or may not.
    RequestFailedError
        If there is no answer.
    """
    parts = check_url(url, networks)
    host = str(parts.hostname)
    address, port = _resolve(host, parts.port or (443 if parts.scheme == "https" else 80), networks)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with _connect(address, port, time_limit) as raw:
            connection = HTTPConnection(host, parts.port or None)
            connection.sock = _secure(raw, host) if parts.scheme == "https" else raw
            with contextlib.closing(connection):
                connection.request("POST", path, body, dict(headers))
                return connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        raise RequestFailedError(f"{type(error).__name__}: {error}"[:300]) from error


def look_up(host: str, port: int) -> list[str]:
    """Look a host's addresses up.

    Raises
    ------
    AddressError
        If it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressError(f"{host} has no address ({error}).") from None
    return [str(place[0]) for *_, place in found]


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read networks, separated by commas, such as ``10.0.0.0/8,::1``.

    Raises
    ------
    ValueError
        If one is none.
    """
    return tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())


def _resolve(host: str, port: int, networks: Collection[Network]) -> tuple[str, int]:
    """Find the first address of a host that may be called.

    Raises
    ------
    AddressError
        If there is none.
    """
    refusal = AddressError(f"{host} has no address.")
    for address in look_up(host, port):
        try:
            check_address(ip_address(address.partition("%")[0]), networks)
        except AddressError as error:
            refusal = error
        else:
            return address, port
    raise refusal


@contextlib.contextmanager
def _connect(address: str, port: int, time_limit: float) -> Iterator[socket.socket]:
    """Connect, and cut the connection off when its time is over."""
    with socket.create_connection((address, port), CONNECT_TIME) as connection:
        connection.settimeout(time_limit)
        # TLS takes the socket over; this one stays ours.
        handle = connection.dup()
        timer = threading.Timer(time_limit, _cut_off, (handle,))
        timer.daemon = True
        timer.start()
        try:
            yield connection
        finally:
            timer.cancel()
            timer.join()
            handle.close()


def _cut_off(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _secure(connection: socket.socket, host: str) -> ssl.SSLSocket:
    return make_tls_context().wrap_socket(connection, server_hostname=host)


def make_tls_context() -> ssl.SSLContext:
    """Trust the authorities that this machine trusts."""
    return ssl.create_default_context()
