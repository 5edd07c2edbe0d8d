"""A local Ethereum chain with real Aave v3 bytecode and a seeded population of borrowers, for tests and for people."""
