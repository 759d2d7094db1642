"""What a model's folder tells of the model without loading it: its items and what may be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.model_versions import newest_version
from laclrec_tf.serving.version_description import VersionDescription


@dataclass(frozen=True)
class ServedItems:
    """What one must know of a model to ask it.

    Args:
        vocabulary: the items.
        max_length: the longest history that the model reads.
        version: the version's number. Default: 1.
        signatures: what may be asked. Default: nothing.

    Example:
        >>> ServedItems(ItemVocabulary(["tent", "stove"]), max_length=50).vocabulary.n_items
        2
    """

    vocabulary: ItemVocabulary
    max_length: int
    version: int = 1
    signatures: frozenset[str] = frozenset()

    @classmethod
    def read(cls, model: Path) -> ServedItems:
        """Read them from the newest version in a model's folder.

        Raises:
            InputError: there is no version, or it was not written by `laclrec-tf export`.
        """
        version, folder = newest_version(model)
        about = VersionDescription.read(folder)
        return cls(about.vocabulary, about.max_length, version, about.signatures)
