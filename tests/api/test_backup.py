"""Backups of a database and its files, restored into other ones."""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import flask_migrate
import psycopg
import pytest
from sqlalchemy import delete

from datarun_api import backup as backup_module
from datarun_api.backup import write_backup
from datarun_api.backup_folder import Backup, BackupError, Contents
from datarun_api.extensions import db
from datarun_api.garbage import collect_files
from datarun_api.models import RawData, Submission, SubmissionFold, User
from datarun_api.postgres_tools import PostgresToolError, find_tool
from datarun_api.restore import check_backup, restore_backup
from datarun_api.site import Site, SiteError, find_home, open_site
from datarun_api.storage import Storage, hash_manifest, save_files
from datarun_client.codec import encode_bytes
from datarun_client.states import Priority, Reader, Role, SplitState, State
from tests.api.conftest import strip_driver
from tests.conftest import numbers

DATA = b"x,y\n1,0\n2,1\n"
SOURCE = b"class Classifier: ...\n"
CONTENTS = Contents(1, 1, 1, 2, 2, len(DATA) + len(SOURCE))


@pytest.fixture
def make_site(make_database, tmp_path) -> Callable[[], Site]:
    """Make sites without tables and files."""

    def make() -> Site:
        return Site(make_database(), Storage(tmp_path / f"storage-{next(numbers)}"))

    return make


@pytest.fixture
def app(make_site, make_app):
    """The application of a site with a data set, and with a finished and a waiting fold."""
    site = make_site()
    app = make_app(site.database_url, str(site.storage.root))
    with app.app_context():
        flask_migrate.upgrade()
        data, source = (
            save_files(site.storage, {name: encode_bytes(content)}, 1000)
            for name, content in (("data.csv", DATA), ("classifier.py", SOURCE))
        )
        user = User(name="a", role=Role.PLATFORM)
        db.session.add(user)
        db.session.flush()
        raw_data = RawData(
            owner_id=user.id,
            name="data",
            target_column="y",
            workflow_elements="classifier",
            files=data,
            reader=Reader.CSV,
            split_state=SplitState.DONE,
        )
        db.session.add(raw_data)
        db.session.flush()
        submission = Submission(
            owner_id=user.id,
            databoard_s_id=1,
            raw_data_id=raw_data.id,
            files=source,
            hash_files=hash_manifest(source),
        )
        db.session.add(submission)
        db.session.flush()
        for number, state in ((1, State.TESTED), (2, State.TODO)):
            fold = SubmissionFold(owner_id=user.id, databoard_sf_id=number, databoard_s=1)
            fold.train_is = fold.test_is = bytes(range(256))
            fold.max_index, fold.priority, fold.state = 9, Priority.HIGH, state
            db.session.add(fold)
        db.session.commit()
    return app


@pytest.fixture
def site(app) -> Site:
    return Site(app.config["DATABASE_URL"], app.extensions["datarun_storage"])


@pytest.fixture
def backup(site, tmp_path) -> Backup:
    write_backup(site, tmp_path / "backup")
    return Backup(tmp_path / "backup")


def read_rows(site: Site) -> dict[str, list[str]]:
    """Read all rows of all tables, as text."""
    with psycopg.connect(strip_driver(site.database_url)) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        return {
            name: sorted(
                row for (row,) in connection.execute(f'SELECT t::text FROM "{name}" t').fetchall()
            )
            for (name,) in tables
        }


def read_files(storage: Storage) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in storage.list_all()}


def test_what_is_restored_is_what_was_backed_up(site, make_site, tmp_path):
    assert write_backup(site, tmp_path / "backup") == CONTENTS
    other = make_site()
    backup = Backup(tmp_path / "backup")

    check_backup(backup)
    assert restore_backup(backup, other) == CONTENTS

    assert read_rows(other) == read_rows(site)
    assert set(read_files(other.storage).values()) == {DATA, SOURCE}
    assert read_files(other.storage) == read_files(site.storage)


def test_what_is_restored_can_be_used(backup, make_site, make_app):
    other = make_site()
    restore_backup(backup, other)

    with make_app(other.database_url).app_context():
        flask_migrate.upgrade()
        db.session.add(User(name="b", role=Role.ADMIN))
        db.session.commit()
        # Numbers go on after those that were given.
        assert db.session.query(User).filter_by(name="b").one().id == 2


def test_a_backup_can_be_checked_without_datarun(backup):
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]

    result = subprocess.run(command, cwd=backup.path, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert result.stdout.count(": OK") == 3


def test_a_backup_is_for_its_owner_s_eyes(backup):
    assert backup.path.stat().st_mode & 0o777 == 0o700


def test_files_that_lose_their_rows_meanwhile_are_in_the_backup(
    app, site, make_site, monkeypatch, tmp_path
):
    """The rows are in the dump, so the files must be, too."""
    dump = backup_module.dump_database
    deleted = []

    def dump_and_delete(*arguments):
        dump(*arguments)
        with app.app_context():
            for model in (SubmissionFold, Submission, RawData):
                db.session.execute(delete(model))
            db.session.commit()
            deleted.append(collect_files(min_age=-1))

    monkeypatch.setattr(backup_module, "dump_database", dump_and_delete)

    assert write_backup(site, tmp_path / "backup") == CONTENTS

    assert deleted == [0]
    assert restore_backup(Backup(tmp_path / "backup"), make_site()) == CONTENTS
    # Afterwards they may go.
    with app.app_context():
        assert collect_files(min_age=-1) == 2


def test_a_folder_that_exists_is_left_alone(site, backup):
    before = backup.label.read_bytes()

    with pytest.raises(BackupError, match="exists"):
        write_backup(site, backup.path)

    assert backup.label.read_bytes() == before


def test_a_backup_that_fails_leaves_nothing(site, tmp_path):
    path = next(path for path in site.storage.list_all() if path.read_bytes() == DATA)
    path.unlink()

    with pytest.raises(BackupError, match=path.name):
        write_backup(site, tmp_path / "backup")

    assert not list(tmp_path.glob("backup*"))


def test_a_file_that_rotted_in_storage_is_told(site, tmp_path):
    path = site.storage.list_all()[0]
    path.write_bytes(b"rotten")

    with pytest.raises(BackupError, match=f"{path} is damaged"):
        write_backup(site, tmp_path / "backup")


def test_a_database_without_tables_is_not_backed_up(make_site, tmp_path):
    with pytest.raises(BackupError, match="no tables"):
        write_backup(make_site(), tmp_path / "backup")


def test_a_database_that_is_away_is_told(site, tmp_path):
    away = dataclasses.replace(site, database_url="postgresql+psycopg://a@127.0.0.1:1/b")

    with pytest.raises(BackupError, match="database failed"):
        write_backup(away, tmp_path / "backup")


def change_label(backup: Backup, **fields) -> None:
    backup.label.write_text(json.dumps({**json.loads(backup.label.read_text()), **fields}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda backup: backup.label.unlink(), "is no backup"),
        (lambda backup: backup.label.write_text("{}"), "can't be read"),
        (lambda backup: backup.label.write_text("["), "can't be read"),
        (lambda backup: change_label(backup, contents={}), "can't be read"),
        (lambda backup: change_label(backup, format=2), "of format 2"),
        (lambda backup: change_label(backup, revision="9999"), "newer than this one"),
        (lambda backup: backup.sums.unlink(), "damaged"),
        (lambda backup: backup.sums.write_text("\n"), "damaged"),
        (lambda backup: backup.dump.unlink(), "is missing"),
        (lambda backup: backup.dump.write_bytes(b"PGDMP"), "damaged"),
        (lambda backup: shutil.rmtree(backup.storage), "is missing"),
    ],
)
def test_what_is_no_whole_backup_is_refused(backup, damage, message):
    damage(backup)

    with pytest.raises(BackupError, match=message):
        check_backup(backup)


def test_a_damaged_file_is_not_restored(backup, make_site):
    other = make_site()
    path = Storage(backup.storage).list_all()[0]
    path.write_bytes(b"x" * path.stat().st_size)

    with pytest.raises(BackupError, match=f"{path} is damaged"):
        restore_backup(backup, other)

    assert read_rows(other) == {}


def test_a_restore_that_was_cut_off_can_be_done_again(backup, make_site):
    other = make_site()
    first = Storage(backup.storage).list_all()[0]
    other.storage.write([first.read_bytes()], first.name)

    assert restore_backup(backup, other) == CONTENTS


def test_a_database_with_tables_is_left_alone(backup, site):
    before = read_rows(site)

    with pytest.raises(BackupError, match="isn't empty"):
        restore_backup(backup, site)

    assert read_rows(site) == before


def test_a_folder_with_other_files_is_left_alone(backup, make_site):
    other = make_site()
    save_files(other.storage, {"other": encode_bytes(b"other")}, 1000)

    with pytest.raises(BackupError, match="isn't empty"):
        restore_backup(backup, other)

    assert read_rows(other) == {}


def test_a_server_older_than_the_backup_is_refused(backup, make_site):
    change_label(backup, postgresql=99)

    with pytest.raises(BackupError, match="PostgreSQL 99 or newer"):
        restore_backup(backup, make_site())


def test_a_server_without_its_programs_is_told_what_to_install():
    with pytest.raises(PostgresToolError, match="postgresql-client-99"):
        find_tool("pg_dump", 99)


def test_a_folder_that_is_no_home_is_not_made_one(tmp_path):
    with pytest.raises(SiteError, match="no home"), open_site(tmp_path / "nothing", {}):
        pass

    assert not (tmp_path / "nothing").exists()


def test_a_home_on_the_operator_s_own_database_needs_its_address(tmp_path):
    (tmp_path / "storage").mkdir()

    with pytest.raises(SiteError, match="set DATABASE_URL"), open_site(tmp_path, {}):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["storage"]


@pytest.mark.parametrize(
    ("named", "environ", "home"),
    [
        ("/home", {"DATABASE_URL": "postgresql:///x", "DATARUN_STORAGE": "s"}, "/home"),
        (None, {"DATABASE_URL": "postgresql:///x", "DATARUN_STORAGE": "s"}, None),
    ],
)
def test_a_home_that_is_named_goes_before_the_operator_s_own_servers(named, environ, home):
    assert find_home(named and Path(named), environ) == (home and Path(home))


def test_the_operator_s_own_servers_are_a_site(site):
    environ = {"DATABASE_URL": site.database_url, "DATARUN_STORAGE": str(site.storage.root)}

    with open_site(None, environ) as found:
        assert found.database_url == site.database_url
        assert read_files(found.storage) == read_files(site.storage)
