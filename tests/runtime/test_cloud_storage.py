"""Places in Cloud Storage and where they are mounted."""

from pathlib import Path

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.runtime import cloud_storage
from laclrec_tf.runtime.cloud_storage import bucket_of, mounted, reachable


def test_an_address_is_split_and_mounted():
    assert bucket_of("gs://shop") == ("shop", "")
    assert bucket_of("gs://shop-1/a/b/") == ("shop-1", "a/b")
    assert mounted("gs://shop-1/a/b") == Path("/gcs/shop-1/a/b")
    assert mounted("a/b") == Path("a/b")


@pytest.mark.parametrize("uri", ["gs://", "gs://A/b", "gs:///a", "s3://shop/a", "shop/a"])
def test_no_address(uri):
    with pytest.raises(InputError, match="gs://BUCKET/FOLDER. Received"):
        bucket_of(uri)


def test_local_paths_and_mounted_buckets_are_reachable(tmp_path, monkeypatch):
    monkeypatch.setattr(cloud_storage, "MOUNT", tmp_path)
    (tmp_path / "shop").mkdir()
    assert reachable("gs://shop/new/place") == tmp_path / "shop/new/place"
    assert reachable("./data/") == Path("data")
    with pytest.raises(InputError, match="gcsfuse.* or give a local path.*`laclrec-tf prepare --engine beam`"):
        reachable("gs://other/place")
    for place in ("s3://shop/data", "hdfs://host/data"):
        with pytest.raises(InputError, match=f"{place} is not a local path.*`laclrec-tf prepare --engine beam`"):
            reachable(place)
