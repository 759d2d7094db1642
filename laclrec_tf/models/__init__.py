"""The model, LACLRec, its catalogue and its presets."""

import laclrec_tf.ops  # noqa: F401  # checks the backend of Keras first
from laclrec_tf.models.baselines import CountModel
from laclrec_tf.models.catalogue import Catalogue
from laclrec_tf.models.laclrec import LACLRec
from laclrec_tf.models.presets import COUNTED_PRESETS, PRESETS, build_preset, preset_arguments

__all__ = [
    "COUNTED_PRESETS",
    "PRESETS",
    "Catalogue",
    "CountModel",
    "LACLRec",
    "build_preset",
    "preset_arguments",
]
