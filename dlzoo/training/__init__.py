"""One run: build, fit, test, report, and everything that can end it early."""
