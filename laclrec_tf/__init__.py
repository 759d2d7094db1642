"""LACLRec: sequential recommendation with a learned augmenter, in Keras and TensorFlow.

The paper is arXiv 2503.20232. Start reading at `laclrec_tf.models.laclrec`. To use a trained model:
`laclrec_tf.load(RUN)`. It is imported when it is first asked for, so that `import laclrec_tf` takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laclrec_tf.recommender import Recommender, load
    from laclrec_tf.run_folder import RunFolder

__version__ = "0.1.0"
__all__ = ["Recommender", "RunFolder", "load"]

_FILE_OF = {"Recommender": "recommender", "RunFolder": "run_folder", "load": "loading"}


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
