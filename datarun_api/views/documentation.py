"""The documentation page: Swagger UI on `/openapi.json`, without anything from elsewhere.

The assets are those of the package ``flask-swagger-ui``; its own page has a script inline, which
our Content-Security-Policy forbids, so the page and its few lines of script are ours.
"""

from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Response, render_template, send_from_directory

from datarun_api.security_headers import PAGE_POLICY

blueprint = Blueprint("documentation", __name__)

ASSETS = Path(str(files("flask_swagger_ui"))) / "dist"
OURS = Path(__file__).parents[1] / "static"


@blueprint.get("/docs")
def show_documentation() -> Response:
    """Show the page."""
    response = Response(render_template("documentation.html"))
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


@blueprint.get("/docs/documentation.js")
def send_script() -> Response:
    """Send the script that starts Swagger UI."""
    return send_from_directory(OURS, "documentation.js")


@blueprint.get("/docs/<any('swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'):name>")
def send_asset(name: str) -> Response:
    """Send a file of Swagger UI."""
    return send_from_directory(ASSETS, name)
