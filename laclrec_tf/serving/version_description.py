"""What an exported version tells of itself without being loaded: its items and what may be asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary

METADATA_FILE = Path("assets.extra", "metadata.json")
VOCABULARY_FILE = Path("assets", "vocabulary.txt")


@dataclass(frozen=True)
class VersionDescription:
    """What one must know of a version to ask it.

    Args:
        vocabulary: the items.
        max_length: the longest history that the model reads.
        signatures: what may be asked. Default: nothing.
    """

    vocabulary: ItemVocabulary
    max_length: int
    signatures: frozenset[str] = frozenset()

    @classmethod
    def read(cls, version_folder: Path) -> VersionDescription:
        """Read what `export_model` wrote.

        Args:
            version_folder: usually `saved_models/NAME/VERSION`.

        Raises:
            InputError: the folder was not written by `laclrec-tf export`.

        Example:
            >>> VersionDescription.read(Path("saved_models/shop/1")).max_length  # doctest: +SKIP
            50
        """
        try:
            about = json.loads((version_folder / METADATA_FILE).read_text(encoding="utf-8"))
            vocabulary = ItemVocabulary.load(version_folder / VOCABULARY_FILE)
            return cls(vocabulary, int(about["max_length"]), frozenset(about.get("signatures", ())))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{version_folder} does not say which items it knows. Give a model that `laclrec-tf export` wrote."
            ) from error
