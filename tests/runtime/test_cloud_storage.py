"""Places in Cloud Storage and where they are mounted."""

from pathlib import Path

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.runtime import cloud_storage
from laclrec_tf.runtime.cloud_storage import bucket_of, mounted, on_this_machine, reachable


def test_an_address_is_split_and_mounted():
    assert bucket_of("gs://shop") == ("shop", "")
    assert bucket_of("gs://shop-1/a/b/") == ("shop-1", "a/b")
    assert mounted("gs://shop-1/a/b") == Path("/gcs/shop-1/a/b")
    assert mounted("a/b") == Path("a/b")


@pytest.mark.parametrize("uri", ["gs://", "gs://A/b", "gs:///a", "s3://shop/a", "shop/a"])
def test_no_address(uri):
    with pytest.raises(InputError, match="gs://BUCKET/FOLDER. Received"):
        bucket_of(uri)


def test_a_bucket_must_be_mounted(tmp_path, monkeypatch):
    monkeypatch.setattr(cloud_storage, "MOUNT", tmp_path)
    (tmp_path / "shop").mkdir()
    assert reachable("gs://shop/new/place") == tmp_path / "shop/new/place"
    with pytest.raises(InputError, match="gcsfuse"):
        reachable("gs://other/place")
    with pytest.raises(InputError, match="or give a local path.*`laclrec-tf prepare --engine beam`"):
        reachable("gs://other/place")


def test_the_local_engine_takes_mounted_buckets_and_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(cloud_storage, "MOUNT", tmp_path)
    (tmp_path / "shop").mkdir()
    assert on_this_machine("gs://shop/data") == str(tmp_path / "shop/data")
    assert on_this_machine("./data/") == "./data/"
    for place in ("s3://shop/data", "hdfs://host/data"):
        with pytest.raises(InputError, match=f"{place} is no path of this machine. Add --engine beam"):
            on_this_machine(place)
    with pytest.raises(InputError, match="gcsfuse"):
        on_this_machine("gs://other/data")
