"""Schemathesis holds the API against its own `/openapi.json`, with all of its checks.

Its engine runs every phase (examples, coverage, fuzzing, stateful) on the real application. What it
sends is made from the document, so a new call is covered as soon as it is there. A platform calls
with its password, a compute machine with its token.

When it finds something, mend the API or the document. If a request that the document calls valid
may still be refused for a reason that no schema can say, name the operation in `UNSAYABLE`.
"""

import itertools
import string
from base64 import b64encode

import numpy as np
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.config._checks import POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES
from schemathesis.engine import StopReason, events, from_schema

from datarun_api import schemas, views
from datarun_api.views import predictions, submission_folds
from datarun_client.codec import encode_bytes, encode_indices, encode_predictions
from tests.conftest import PASSWORD

FOR_WORKERS = "^/runapp/worker/"

UNSAYABLE = {
    "POST /runapp/rawdata/": "several files need one reader among them",
    "POST /runapp/rawdata/split/": "the data set may have a reader of its own",
    "POST /runapp/raw_data/split/": "the data set may have a reader of its own",
    "POST /runapp/rawdata/customsplit/": "the data set may have no reader of its own",
    "POST /runapp/submissionfold/": "a new submission needs its files and its data set",
    "POST /runapp/uploads/": "the digest must be the body's",
    "POST /runapp/testpredictions/new/": "what has an Idempotency-Key can't wait",
    "PUT /runapp/uploads/{upload_id}/parts/{offset}/": "digest and length must be the body's",
    "PUT /runapp/worker/splits/{raw_data}/{attempt}/files/{sha256}/": "the address is the digest",
    "POST /runapp/worker/splits/{raw_data}/{attempt}/result/": "the digest must be the body's",
    "POST /runapp/worker/scorings/{owner}/{databoard_s}/{attempt}/result/": (
        "the digest must be the body's"
    ),
    "POST /runapp/worker/folds/{owner}/{databoard_sf_id}/{attempt}/result/": (
        "the digest must be the body's"
    ),
}
"""Why a request that follows the document may get 400, or 413."""

NAMED_IN_BODY = (
    "POST /runapp/rawdata/split/",
    "POST /runapp/raw_data/split/",
    "POST /runapp/rawdata/customsplit/",
)
"""Calls that name in their body what may have been deleted: Schemathesis looks at addresses only,
and would call their 404 a resource that was lost."""

names = st.text(string.ascii_lowercase + "é", min_size=1, max_size=8)
FORMATS = {
    "line": st.text(string.ascii_letters + " é", min_size=1, max_size=20),
    "file-name": st.lists(names, min_size=1, max_size=2).map("/".join).map("{}.txt".format),
    "workflow-elements": st.sampled_from(["classifier", "feature_extractor, regressor"]),
    "force": st.sampled_from(["submission_fold", "submission, submission_fold"]),
    schemas.BYTES_FORMAT: st.binary(max_size=20).map(encode_bytes),
    schemas.INDICES_FORMAT: st.lists(st.integers(0, 99), min_size=1).map(encode_indices),
    schemas.CURSOR_FORMAT: st.lists(st.integers(0, 99), max_size=4).map(
        lambda numbers: encode_indices(numbers * 2) if numbers else ""
    ),
    schemas.URL_FORMAT: st.text(string.ascii_lowercase, max_size=8).map(
        "https://example.org/{}".format
    ),
    schemas.PREDICTIONS_FORMAT: st.lists(st.floats(0, 1)).map(np.array).map(encode_predictions),
}
"""How texts of our formats are made; the document can only name them."""

for name, strategy in FORMATS.items():
    schemathesis.openapi.format(name, strategy)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Let no answer wait, and every stream end soon: what waits has tests of its own."""
    for module in (predictions, submission_folds):
        monkeypatch.setattr(module, "wait_for", lambda owner_id, seconds, look: look())
    monkeypatch.setattr(views.events, "MAX_STREAM", 0.0)


def load(api_url, headers, n_examples, without=()):
    """Load the document for somebody, with a bound on how much of each operation is tried."""
    statuses = [*POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES, "400", "413"]
    operations = [
        (UNSAYABLE, {"positive_data_acceptance": {"expected-statuses": statuses}}),
        (NAMED_IN_BODY, {"ensure_resource_availability": {"enabled": False}}),
    ]
    config = {
        "seed": 1,
        "headers": headers,
        "cache": {"enabled": False},
        "generation": {
            "max-examples": n_examples,
            "deterministic": True,
            "database": "none",
            # HTTP wants headers and query fields that nobody knows to be passed over.
            "allow-extra-parameters": False,
        },
        "phases": {name: {"enabled": False} for name in without},
        "operations": [
            {"include-name": name, "checks": checks}
            for names, checks in operations
            for name in names
        ],
    }
    return schemathesis.openapi.from_url(
        f"{api_url}openapi.json", config=SchemathesisConfig.from_dict(config)
    )


def find_faults(schema):
    """Run all phases, and say what they found."""
    faults = []
    n_requests = 0
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            faults.append(str(event))
        if isinstance(event, events.ScenarioFinished):
            n_requests += len(event.recorder.interactions)
            for check in itertools.chain(*event.recorder.checks.values()):
                if check.failure_info:
                    found = check.failure_info
                    faults.append(f"{event.recorder.label}: {found.failure}\n{found.code_sample}")
        if isinstance(event, events.EngineFinished):
            assert event.stop_reason is StopReason.COMPLETED
    assert n_requests > len(list(schema.get_all_operations()))
    return "\n\n".join(dict.fromkeys(faults))


def show_password(caller):
    """Make the header by which an account says its password."""
    credentials = b64encode(f"{caller.name}:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


pytestmark = [
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
    # Thousands of requests: half a minute of work, which a busy machine takes long for.
    pytest.mark.timeout(400),
]
tries = pytest.mark.parametrize(
    "n_examples", [3, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(1500)])]
)


@tries
def test_a_platform_finds_what_the_document_says(api_url, platform, n_examples):
    schema = load(api_url, show_password(platform), n_examples).exclude(path_regex=FOR_WORKERS)

    assert find_faults(schema) == ""


@tries
def test_a_compute_machine_finds_what_the_document_says(api_url, worker, n_examples):
    token = {"Authorization": worker.headers["Authorization"]}
    schema = load(api_url, token, n_examples).include(path_regex=FOR_WORKERS)

    assert find_faults(schema) == ""


def test_a_stranger_finds_what_the_document_says(api_url):
    schema = load(api_url, {}, 3, without=["coverage", "stateful"])

    assert find_faults(schema) == ""
