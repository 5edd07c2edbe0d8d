"""Systemic leverage clusters, what venues do to each other, and what changed between two scans."""
