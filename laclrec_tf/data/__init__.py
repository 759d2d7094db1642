"""Events in, batches out: reading, splitting, corrupting and batching histories."""
