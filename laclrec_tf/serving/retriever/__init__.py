"""The served graph: item strings in, the best items out."""
