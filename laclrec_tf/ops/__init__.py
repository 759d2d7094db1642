"""Operations on batches of item ids and on the item table: masks, edits, rows and replicas."""
