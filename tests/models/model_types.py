"""The arguments of `LACLRec` are typed attributes: mypy checks this file, and pytest does not collect it."""

from typing import assert_type

from laclrec_tf.models import LACLRec

model = LACLRec(n_items=3, width=8)
assert_type(model.alpha, float)
assert_type(model.width, int)
assert_type(model.label_smoothing, float)
assert_type(model.can_delete, bool)
