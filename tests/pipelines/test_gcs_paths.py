"""Places in Cloud Storage and where they are mounted."""

from pathlib import Path

import pytest

from laclrec_tf.errors import InputError
from pipelines import gcs_paths
from pipelines.gcs_paths import bucket_of, mounted, reachable


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
    monkeypatch.setattr(gcs_paths, "MOUNT", tmp_path)
    (tmp_path / "shop").mkdir()
    assert reachable("gs://shop/new/place") == tmp_path / "shop/new/place"
    with pytest.raises(InputError, match="gcsfuse"):
        reachable("gs://other/place")
