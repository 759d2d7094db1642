"""From prepared data to a run: settings, session, checkpoints, logs, workers."""
