"""One folder per paper, one module per claim, named by its slug.

A study is a module with `cells(**preset)` (the arguments of every call of `run`),
`run(rng, **cell)` (tidy columns, one row a replicate), `table(rows)` (what is committed and drawn),
`checks(rows)` (what is asked of the rows) and `DEFECTS` (mistakes in the code under test on which they must
fail).
"""
