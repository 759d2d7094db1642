"""Preparing data and recommending for all users on Apache Beam."""
