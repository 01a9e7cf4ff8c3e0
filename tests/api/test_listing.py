"""Lists: whole as the seed says, or filtered, by pages, some fields only, unchanged."""

import itertools
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy import delete, func, select, text, true, update

import datarun_api.listing
from datarun_api.extensions import db
from datarun_api.listing import CHUNK_BYTES
from datarun_api.models import SubmissionFold
from datarun_client.states import Role
from tests.api.payloads import (
    make_fold,
    post_raw_data,
    prepare,
    run_fold,
)
from tests.conftest import wait_until

LISTS = ("rawdata/", "submissionfold/", "submissionfold-light/")
LIGHT_FIELDS = {"databoard_sf_id", "databoard_s", "state", "new"}


@pytest.fixture
def folds(platform, worker, raw_data):
    """Fold 10 of submission 1 is tested, its fold 11 waits, so does the urgent 12 of another."""
    other = prepare(platform, worker, name="other")
    for payload in (
        make_fold(raw_data, number=10),
        make_fold(number=11),
        make_fold(other, number=12, databoard_s_id=2, priority="H"),
    ):
        assert platform.post("submissionfold/", payload).status_code == 201
    run_fold(worker, platform, 10)
    return {"first": raw_data, "other": other}


def list_numbers(platform, query="", path="submissionfold-light/"):
    response = platform.get(f"{path}?{query}")
    assert response.status_code == 200, response.json
    return [entry["databoard_sf_id"] for entry in response.json]


def find_next(response):
    """Find the address of the next page."""
    link = requests.utils.parse_header_links(response.headers.get("Link", ""))
    return next((entry["url"] for entry in link if entry["rel"] == "next"), None)


def walk(platform, path):
    """Follow the links from page to page; each page's numbers."""
    pages = []
    while path:
        response = platform.get(path)
        pages.append([entry["databoard_sf_id"] for entry in response.json])
        path = (find_next(response) or "").removeprefix("/runapp/")
    return pages


@pytest.mark.parametrize("path", LISTS)
def test_a_list_without_anything_is_empty(platform, path):
    response = platform.get(path)

    assert response.data == b"[]\n"
    assert response.mimetype == "application/json"


@pytest.mark.parametrize("path", ["submissionfold/", "submissionfold-light/"])
def test_an_entry_of_a_list_is_what_the_fold_itself_shows(platform, folds, path):
    entries = platform.get(path).json

    for entry in entries:
        detail = platform.get(f"submissionfold/{entry['databoard_sf_id']}/").json
        assert entry == {name: detail[name] for name in entry}
    assert len(entries) == 3


def test_an_entry_of_the_data_sets_is_what_their_post_answered(platform):
    posted = platform.post(
        "rawdata/",
        {
            "name": "iris",
            "target_column": "y",
            "workflow_elements": "classifier",
            "files": {"a.csv": "eJwDAAAAAAE="},
            "time_limit": 2.5,
        },
    ).json

    assert platform.get("rawdata/").json == [posted]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("state=TESTED", [10]),
        ("state=TODO,TESTED", [10, 11, 12]),
        ("state=ERROR", []),
        ("submission=1", [10, 11]),
        ("submission=3", []),
        ("priority=H", [12]),
        ("priority=L&state=TODO", [11]),
        ("since=2000-01-01T00:00:00Z", [10, 11, 12]),
        ("since=2999-01-01T00:00:00Z", []),
    ],
)
@pytest.mark.parametrize("path", ["submissionfold/", "submissionfold-light/"])
def test_a_filter_lists_what_it_says(platform, folds, path, query, numbers):
    assert list_numbers(platform, query, path) == numbers


def test_folds_are_filtered_by_their_data_set(platform, folds):
    assert list_numbers(platform, f"raw_data={folds['first']}") == [10, 11]
    assert list_numbers(platform, f"raw_data={folds['other']}") == [12]


def test_since_lists_what_changed_lately(platform, worker, folds, context):
    db.session.execute(
        update(SubmissionFold)
        .where(SubmissionFold.owner_id == platform.id)
        .values(changed_at=func.now() - timedelta(hours=1))
    )
    db.session.commit()
    since = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert list_numbers(platform, f"since={since}") == []

    run_fold(worker, platform, 11)

    assert list_numbers(platform, f"since={since}") == [11]


def test_a_change_is_noted_however_it_is_written(platform, folds, context):
    def read():
        query = select(SubmissionFold.changed_at).where(SubmissionFold.owner_id == platform.id)
        return db.session.scalars(query.order_by(SubmissionFold.databoard_sf_id)).all()

    before = read()

    platform.post("testpredictions/list/", {"list_submission_fold": [10]})
    platform.call("DELETE", "submissionfold/12/")

    after = read()
    assert [new > old for old, new in zip(before, after, strict=True)] == [True, False, True]


def test_pages_follow_one_another_and_hold_everything_once(platform, folds):
    assert walk(platform, "submissionfold-light/?limit=2") == [[10, 11], [12]]
    assert walk(platform, "submissionfold/?limit=1&priority=L") == [[10], [11]]
    assert walk(platform, "submissionfold/?limit=3") == [[10, 11, 12]]


def test_the_pages_are_stable_while_folds_come_and_go(platform, folds):
    first = platform.get("submissionfold-light/?limit=2")
    platform.post("submissionfold/", make_fold(number=9))
    platform.post("submissionfold/", make_fold(number=20))
    platform.call("DELETE", "submission/2/")

    following = platform.get(find_next(first).removeprefix("/runapp/"))

    assert [entry["databoard_sf_id"] for entry in following.json] == [20]


def test_the_link_keeps_what_was_asked_for(platform, folds):
    response = platform.get(
        "submissionfold/?limit=1&state=TODO,TESTED&fields=databoard_sf_id,state"
    )

    address = urlsplit(find_next(response))
    assert address.path == "/runapp/submissionfold/"
    assert platform.get(f"submissionfold/?{address.query}").json == [
        {"databoard_sf_id": 11, "state": "TODO"}
    ]


def test_data_sets_have_pages_too(platform):
    numbers = [post_raw_data(platform, name=name) for name in "abc"]

    response = platform.get("rawdata/?limit=2&fields=id,name,files_path")

    assert response.json[0] == {
        "id": numbers[0],
        "name": "a",
        "files_path": f"rawdata/{numbers[0]}",
    }
    following = platform.get(find_next(response).removeprefix("/runapp/"))
    assert [entry["name"] for entry in following.json] == ["c"]
    assert find_next(following) is None


def test_fields_are_shown_in_the_order_of_their_names(platform, folds):
    response = platform.get("submissionfold/?fields=state,databoard_sf_id&limit=1")

    assert response.data == b'[{"state":"TESTED","databoard_sf_id":10}]\n'


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=todo", "state"),
        ("state=", "state"),
        ("state=TODO,", "state"),
        ("raw_data=x", "raw_data"),
        ("raw_data=-1", "raw_data"),
        ("submission=2147483648", "submission"),
        ("submission=1_0", "submission"),
        ("submission=%D9%A1", "submission"),
        ("priority=low", "priority"),
        ("since=yesterday", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=1.5", "limit"),
        ("cursor=-1", "cursor"),
        ("cursor=abc", "cursor"),
        ("fields=password_hash", "fields"),
        ("fields=", "fields"),
        ("stat=TODO", "stat"),
    ],
)
@pytest.mark.parametrize("path", ["submissionfold/", "submissionfold-light/"])
def test_a_bad_parameter_is_refused_by_name(platform, path, query, field):
    response = platform.get(f"{path}?{query}")

    assert response.status_code == 400
    assert list(response.json["errors"]) == [field]
    assert all(isinstance(text, str) for text in response.json["errors"][field])


@pytest.mark.parametrize("query", ["state=TODO", "limit=x", "fields=parts"])
def test_a_bad_parameter_of_the_data_sets_is_refused(platform, query):
    response = platform.get(f"rawdata/?{query}")

    assert response.status_code == 400
    assert list(response.json["errors"]) == [query.partition("=")[0]]


@pytest.mark.parametrize("path", [*LISTS, "submissionfold/?limit=2", "submissionfold/?state=TODO"])
def test_what_didnt_change_is_not_sent_again(platform, folds, path):
    first = platform.get(path)

    again = platform.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 304
    assert again.data == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers.get("Link") == first.headers.get("Link")


def test_a_change_of_any_row_is_another_list(platform, worker, folds):
    tags = [platform.get("submissionfold-light/").headers["ETag"]]

    def note(*paths):
        for path in paths:
            response = platform.get(path, headers={"If-None-Match": tags[-1]})
            assert response.status_code == 200
            tags.append(response.headers["ETag"])

    run_fold(worker, platform, 11)
    note("submissionfold-light/")
    platform.post("testpredictions/list/", {"list_submission_fold": [10]})
    note("submissionfold-light/")
    platform.call("DELETE", "submission/2/")
    note("submissionfold-light/")
    assert len(set(tags)) == len(tags)


def test_a_page_knows_nothing_of_other_pages(platform, worker, folds):
    first = platform.get("submissionfold-light/?limit=1")

    run_fold(worker, platform, 11)

    again = platform.get(
        "submissionfold-light/?limit=1", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert again.status_code == 304


def test_a_viewer_lists_what_its_account_has(add_caller, platform, folds):
    viewer = add_caller(Role.VIEWER, views=platform)

    assert list_numbers(viewer) == [10, 11, 12]
    assert list_numbers(add_caller()) == []


@pytest.fixture
def many_large_folds(platform, raw_data, context):
    """Sixty-four MiB of folds, which no socket's buffer holds."""
    platform.post("submissionfold/", make_fold(raw_data, number=0))
    table = SubmissionFold.__table__
    numbers = func.generate_series(1, 64).table_valued("number").render_derived("numbers")
    log = func.repeat("log ", CHUNK_BYTES // 4)
    changed = {"databoard_sf_id": numbers.c.number, "log_messages": log}
    columns = [changed.get(column.name, column) for column in table.columns]
    rows = select(*columns).join_from(table, numbers, true())
    rows = rows.where(table.c.owner_id == platform.id)
    db.session.execute(table.insert().from_select(table.columns.keys(), rows))
    db.session.commit()


def test_a_list_comes_in_pieces_that_are_bounded(platform, many_large_folds, app):
    with app.app_context():
        response = app.test_client().get(
            "/runapp/submissionfold/", headers=platform.headers, buffered=False
        )
        pieces = [len(piece) for piece in response.iter_encoded()]
        response.close()

    assert sum(pieces) > 64 * CHUNK_BYTES
    assert max(pieces) < 2 * CHUNK_BYTES


@pytest.fixture
def server(app, servers):
    """The API behind gunicorn, as in operation; where it is."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--threads", "2"]
    environ = {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "DATARUN_STORAGE": app.config["STORAGE"],
    }
    options = ["--worker-class", "gthread", "--no-control-socket", "datarun_api:create_app()"]
    with subprocess.Popen(
        [*command, *options], env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = ""
            while "Listening at: " not in line:
                line = process.stderr.readline()
                assert line, "gunicorn ended"
            yield line.partition("Listening at: ")[2].split()[0]
        finally:
            process.terminate()
            process.stderr.read()


def test_a_list_that_breaks_off_is_not_taken_for_a_whole_one(
    platform, many_large_folds, server, context
):
    with (
        ThreadPoolExecutor() as threads,
        requests.get(
            f"{server}/runapp/submissionfold/", headers=platform.headers, stream=True, timeout=30
        ) as response,
    ):
        assert response.status_code == 200
        pieces = response.iter_content(1 << 16)
        body = bytearray(next(pieces))

        # Nobody reads the table from now on, so that a piece is being waited for when it ends.
        db.session.execute(text("LOCK TABLE submission_fold IN ACCESS EXCLUSIVE MODE"))
        reading = threads.submit(lambda: body.extend(itertools.chain.from_iterable(pieces)))

        def end_the_stream():
            waiting = text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                "WHERE NOT granted AND relation = 'submission_fold'::regclass"
            )
            return db.session.scalars(waiting).all()

        wait_until(end_the_stream, "the list's next piece")
        db.session.rollback()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            reading.result()

    assert not body.endswith(b"]\n")


def test_a_failure_before_the_first_row_is_a_refusal(platform, folds, app, monkeypatch):
    def fail(connection, query, values):
        driver = connection.connection.driver_connection
        with driver.transaction():
            driver.execute("SET LOCAL statement_timeout = 1")
            driver.execute("SELECT pg_sleep(9)")

    monkeypatch.setattr(datarun_api.listing, "_fetch_all", fail)

    response = platform.get("submissionfold/")

    assert response.status_code == 503
    assert response.headers["Retry-After"]


def test_rows_that_grow_while_a_list_is_sent_come_in_bounded_pieces(
    platform, many_large_folds, app, context
):
    """As results do that arrive meanwhile: how large rows are is known when they are read."""
    mine = SubmissionFold.owner_id == platform.id
    db.session.execute(update(SubmissionFold).where(mine).values(log_messages=""))
    db.session.execute(
        update(SubmissionFold)
        .where(mine, SubmissionFold.databoard_sf_id == 1)
        .values(log_messages=func.repeat("log ", CHUNK_BYTES // 4))
    )
    db.session.commit()
    with app.app_context():
        response = app.test_client().get(
            "/runapp/submissionfold/", headers=platform.headers, buffered=False
        )
        pieces = response.iter_encoded()
        begun = list(itertools.islice(pieces, 2))
        db.session.execute(
            update(SubmissionFold)
            .where(mine)
            .values(log_messages=func.repeat("log ", CHUNK_BYTES // 4))
        )
        db.session.commit()
        sizes = [len(piece) for piece in pieces]
        response.close()

    assert sum(map(len, begun)) + sum(sizes) > 60 * CHUNK_BYTES
    assert max(sizes) < 2 * CHUNK_BYTES


def test_a_list_holds_no_connection_while_it_is_sent(platform, many_large_folds, app):
    with app.app_context():
        response = app.test_client().get(
            "/runapp/submissionfold/", headers=platform.headers, buffered=False
        )

        for _ in zip(range(3), response.iter_encoded(), strict=False):
            assert db.engine.pool.checkedout() == 0
        response.close()


def test_a_list_is_whole_however_its_numbers_are_spread(platform, raw_data, app, monkeypatch):
    monkeypatch.setattr(datarun_api.listing, "MAX_CHUNK_ROWS", 2)
    numbers = [0, 1, 2, 3, 4, 1000, 1001, 1002, 2**30, 2**30 + 3, 2**31 - 2, 2**31 - 1]
    folds = [make_fold(number=number) for number in numbers[1:]]
    platform.post("submissionfold/", make_fold(raw_data, number=0))
    assert platform.post("submissionfold/", folds).status_code == 201

    assert list_numbers(platform) == numbers
    assert list_numbers(platform, "cursor=1") == numbers[2:]
    assert list_numbers(platform, f"cursor={2**31 - 1}") == []
    assert list_numbers(platform, "cursor=3&limit=6") == numbers[4:10]
    # Without the number that orders them.
    light = platform.get("submissionfold-light/?fields=state").json
    assert light == [{"state": "TODO"}] * len(numbers)


@pytest.mark.parametrize("fields", ["state,state", "databoard_sf_id,state,databoard_sf_id"])
def test_a_field_that_is_asked_for_twice_is_shown_once(platform, folds, fields):
    entries = platform.get(f"submissionfold/?fields={fields}").json

    assert [entry["state"] for entry in entries] == ["TESTED", "TODO", "TODO"]
    assert {*entries[0]} == {*fields.split(",")}


def test_a_list_goes_on_behind_what_was_deleted(platform, many_large_folds, app):
    """Nothing is locked while it is sent: what goes meanwhile isn't in it, and all else is."""
    with app.app_context():
        response = app.test_client().get(
            "/runapp/submissionfold/?fields=log_messages,databoard_sf_id",
            headers=platform.headers,
            buffered=False,
        )
        pieces = response.iter_encoded()
        # The bracket, and a piece of two folds: the first is small.
        body = b"".join(itertools.islice(pieces, 2))
        gone = SubmissionFold.databoard_sf_id.in_([1, 2, 30])
        db.session.execute(
            delete(SubmissionFold).where(SubmissionFold.owner_id == platform.id, gone)
        )
        db.session.commit()
        body += b"".join(pieces)
        response.close()

    numbers = [fold["databoard_sf_id"] for fold in json.loads(body)]
    assert numbers == [number for number in range(65) if number not in (2, 30)]


def test_a_list_leaves_its_connection_to_others(platform, many_large_folds, app):
    for method in ("GET", "HEAD"):
        with app.app_context():
            # Without reading the body, as when the client has gone.
            client = app.test_client()
            client.open("/runapp/submissionfold/", method=method, headers=platform.headers).close()
            assert db.engine.pool.checkedout() == 0
