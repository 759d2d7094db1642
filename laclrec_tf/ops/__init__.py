"""Operations on batches of item ids and on the item table: padding, masks, edits, rows and replicas."""
