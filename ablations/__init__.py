"""Many runs: a study is a grid of cells, each a command.

Results are read back from the files that the runs leave.
"""
