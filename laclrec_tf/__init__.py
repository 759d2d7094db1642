"""LACLRec: sequential recommendation with a learned augmenter, in Keras and TensorFlow.

The paper is arXiv 2503.20232. Start reading at `laclrec_tf.models.laclrec`. `laclrec_tf.load(RUN)` loads a trained
model. Names are imported at first use, so that `import laclrec_tf` takes no time; `__init__.pyi` lists them.
"""

from typing import Any

import lazy_loader
import wrapt

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@wrapt.when_imported("keras")
def _register_layers(keras: Any) -> None:
    """Register the classes of saved models with Keras, so that `keras.models.load_model` finds them."""
    if keras.config.backend() == "tensorflow":
        import laclrec_tf.models  # noqa: F401
