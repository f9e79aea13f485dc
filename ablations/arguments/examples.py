"""What --help says below the options: examples, files and exit codes."""

EPILOG = """
examples:
  python -m ablations plan smoke                  its cells as commands, and the memory each needs
  python -m ablations run smoke --parallel 2      the same command resumes, after a crash, too
  python -m ablations status smoke
  python -m ablations report smoke                then open runs/smoke/report/index.html
  python -m ablations COMMAND --help              the options of one command

files (docs/run-directory.md explains them):
  runs/STUDY/CELL/seed=N/     a run: config.yaml, metrics.jsonl, result.json, log.txt,
                              checkpoints/, evaluations/
  runs/STUDY/report/          tables as CSV, Markdown and LaTeX, figures as PNG and PDF, index.html

exit codes:
  0    done
  1    run: a cell has not ended well (status says how)
  2    bad input; one line on stderr says what to change, and nothing has been started
       (but for jobs that it names)
  130  stopped by Ctrl-C (143 by SIGTERM): nothing is lost, and the same command goes on
"""
EPILOGS = {
    "plan": """
examples:
  python -m ablations plan demo_memory
  python -m ablations plan my_study.yaml --runs-dir /data/runs      runs lie in DIR/my_study
  python -m ablations plan my_study.yaml --budget 80GiB --for-gpu   how long a sequence may be

Nothing is written. Memory is that of one training step, in GiB, of one process.
Exit codes: 0 every cell can be, 2 one cannot.
""",
    "run": """
examples:
  python -m ablations run my_study.yaml --parallel 4
  python -m ablations run my_study.yaml --gpus 0-7 --gpus-per-cell 2 --timeout 3600
  python -m ablations run my_study.yaml --retry --memory-limit 24
  python -m ablations run my_study.yaml --force --dry-run
  python -m ablations run large.yaml --sample 20      some of its cells, drawn at random
  python -m ablations run my_study.yaml --launcher slurm --slurm my_cluster.yaml --wait

A run is written to runs/STUDY/CELL/seed=N, what it says to log.txt there.
Exit codes: 0 every cell is ok (on SLURM without --wait: is queued), 1 a cell is not, 2 bad input,
130 Ctrl-C, 143 SIGTERM.
""",
    "status": """
examples:
  python -m ablations status my_study.yaml
  watch -n 30 python -m ablations status demo_hashes demo_memory

A study that runs is not disturbed.
Exit codes: 0, or 2 for bad input.
""",
    "report": """
examples:
  python -m ablations report demo_hashes demo_memory
  python -m ablations report my_study.yaml      while it runs, too: a cell that is not done says so
  python -m ablations report my_study.yaml --style icml2024 --format pdf,tex --out paper/figures
  python -m ablations report my_study.yaml --only learning_curves,paired

Written below runs/STUDY/report, whose files are replaced: results.csv (a row for each cell and
evaluation), each table as CSV, Markdown and LaTeX, each figure as PNG and PDF, and index.html,
which opens from the file.
Exit codes: 0, or 2 where no cell has ended yet, or for bad input.
""",
    "export": """
examples:
  python -m ablations export demo_hashes demo_memory --out all.csv
  python -m ablations export copied/from/elsewhere --format parquet --out all.parquet
  python -m ablations export my_study.yaml --to wandb      finished runs, as if logged while trained

The columns are those of ablations.results.load_results, which docs/run-directory.md lists.
Exit codes: 0, or 2 for bad input.
""",
    "compare": """
examples:
  python -m ablations compare before/my_study runs/my_study      two folders of runs
  python -m ablations compare my_study.yaml my_other_study.yaml --out comparison

Cells are matched by name and seed. Written to DIR as CSV, Markdown and LaTeX, named compare_BEFORE.
Exit codes: 0, or 2 where no cells match, or for bad input.
""",
}
