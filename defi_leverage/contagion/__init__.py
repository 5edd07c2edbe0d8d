"""Contagion: compiled books, liquidation rules, price impact, scenarios and the round engine."""
