from .recommender import Recommender as Recommender
from .recommender import load as load
from .run_folder import RunFolder as RunFolder

__version__: str
