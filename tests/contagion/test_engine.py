"""The round engine: cascades solved by hand and published ones, and what must hold for any book."""
