"""Custom training jobs and endpoints on Vertex AI."""
