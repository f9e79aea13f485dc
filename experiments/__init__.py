"""One run: compose a config, train it, evaluate it."""
