"""One folder per paper, one module per claim, named by its slug.

A study is a module with `cells(**preset)` (the arguments of every call of `run`),
`run(rng, *, defect=False, **cell)` (tidy columns, one row a replicate; `defect` plants the fault that
`DEFECT` names), `table(rows)` (what is committed and drawn) and `checks(rows)` (what is asked of the rows).
"""
