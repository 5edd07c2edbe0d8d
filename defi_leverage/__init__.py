"""On-chain leverage-loop and contagion analyzer."""

__version__ = "0.1.0"
