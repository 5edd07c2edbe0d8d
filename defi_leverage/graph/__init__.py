"""The dependency graph, the loops in it, and what is behind collateral and owners."""
