"""Stress testing: sets of scenarios, sweeps over them, reverse stress tests, and the measures of risk they feed."""
