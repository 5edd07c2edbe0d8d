"""Measures of leverage that a risk desk watches: cited pure functions, and tables of them for a snapshot."""
