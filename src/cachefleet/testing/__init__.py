"""What test suites of other projects use: the pytest plugin."""
