import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarun_api.storage import ContentError, Storage, hash_manifest, save_files
from datarun_client.codec import encode_bytes
from datarun_client.errors import CodecError


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "storage")


def list_files(storage):
    return [path for path in storage.root.rglob("*") if path.is_file()]


def test_files_are_kept_by_their_hash(storage):
    manifest = save_files(
        storage, {"b.csv": encode_bytes(b"two"), "a.csv": encode_bytes(b"one")}, 99
    )

    assert manifest == [
        {"name": "a.csv", "sha256": hashlib.sha256(b"one").hexdigest(), "size": 3},
        {"name": "b.csv", "sha256": hashlib.sha256(b"two").hexdigest(), "size": 3},
    ]
    assert storage.find(manifest[0]["sha256"]).read_bytes() == b"one"


def test_the_same_bytes_are_kept_once(storage):
    save_files(storage, {"a": encode_bytes(b"same"), "b": encode_bytes(b"same")}, 99)

    assert len(list_files(storage)) == 1


def test_one_bad_file_means_that_none_is_kept(storage):
    with pytest.raises(CodecError, match="'b'"):
        save_files(storage, {"a": encode_bytes(b"good"), "b": "bad"}, 99)

    assert list_files(storage) == []


def test_the_limit_is_on_all_files_together(storage):
    files = {"a": encode_bytes(bytes(60)), "b": encode_bytes(bytes(60))}

    with pytest.raises(CodecError, match="'b' becomes larger"):
        save_files(storage, files, 100)

    assert list_files(storage) == []


def test_bytes_with_another_hash_than_announced_are_not_kept(storage):
    with pytest.raises(ContentError, match="not 0000"):
        storage.write([b"x"], "0" * 64)

    assert list_files(storage) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "G" * 64, "0" * 63 + "/"])
def test_what_is_no_hash_is_no_path(storage, name):
    with pytest.raises(ValueError, match="no SHA-256"):
        storage.find(name)


def test_a_file_that_is_not_there_is_said_to_be_missing(storage):
    with pytest.raises(FileNotFoundError):
        storage.find("0" * 64)


manifests = st.lists(
    st.tuples(st.text(max_size=5), st.sampled_from(["0" * 64, "1" * 64])), unique_by=lambda x: x[0]
)


@given(manifests, st.randoms())
def test_the_hash_of_a_manifest_does_not_depend_on_its_order(entries, random):
    files = [{"name": name, "sha256": sha256, "size": 1} for name, sha256 in entries]
    shuffled = random.sample(files, len(files))

    assert hash_manifest(files) == hash_manifest(shuffled)


def test_the_hash_of_a_manifest_depends_on_names_and_contents():
    one = [{"name": "a", "sha256": "0" * 64, "size": 1}]
    renamed = [{"name": "b", "sha256": "0" * 64, "size": 1}]
    changed = [{"name": "a", "sha256": "1" * 64, "size": 1}]

    assert len({hash_manifest(manifest) for manifest in (one, renamed, changed)}) == 3
