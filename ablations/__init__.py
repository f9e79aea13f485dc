"""Many runs: a study is a grid of cells, each a command; results are read back from the files the runs leave."""
