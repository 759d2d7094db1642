"""From events to batches: read, check, split, corrupt and batch histories.

Names are imported at first use, so that reading a table does not wait for TensorFlow; `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
