"""Which versions are served."""

from __future__ import annotations

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.server.served_model import VersionPolicy, check_policy, wanted_versions


@pytest.mark.parametrize(
    ("policy", "existing", "wanted"),
    [
        ({}, [1, 12, 3], {12}),
        ({"latest": {}}, [1, 2], {2}),
        ({"latest": {"num_versions": 2}}, [1, 12, 3], {3, 12}),
        ({"latest": {"num_versions": 5}}, [1, 3], {1, 3}),
        ({"latest": {"num_versions": 1}}, [], set()),
        ({"all": {}}, [1, 12, 3], {1, 3, 12}),
        ({"specific": {"versions": [3, 9]}}, [1, 3], {3}),
    ],
)
def test_wanted(policy, existing, wanted):
    assert wanted_versions(VersionPolicy(**policy), existing) == wanted


def test_specific_without_versions():
    check_policy("shop", VersionPolicy(specific={"versions": [0]}))
    with pytest.raises(InputError, match="Model shop: the version policy `specific` must name at least one"):
        check_policy("shop", VersionPolicy(specific={}))
