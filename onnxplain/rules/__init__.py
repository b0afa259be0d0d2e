"""Propagation rules, and the tables that say which node takes which."""
