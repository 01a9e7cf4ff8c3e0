"""What every answer tells a browser, so that nobody's page can make more of it than it is."""

from flask import Flask, Response, request

DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Answers are data: nothing in them is to be loaded, run or framed."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""A page's own scripts and nobody else's. Swagger UI writes styles and pictures inline."""

HEADERS = {
    "Content-Security-Policy": DATA_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

HSTS = "max-age=31536000"
"""A browser that came by TLS once comes by TLS for a year."""


def register_security_headers(app: Flask) -> None:
    """Let every answer carry the headers; a view that set one itself keeps it."""

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.is_secure:
            response.headers.setdefault("Strict-Transport-Security", HSTS)
        return response
