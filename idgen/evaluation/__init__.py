"""A suite's drawings to scores and files, without Lightning.

`evaluator` scores drawings and `recorder` writes what comes out: tables by `files`, pictures by
`grids`, a page by `page`. `fidelity` and the recorder are what configs set. `score` is what a score
is, `scores` those that idgen has, `observed` what they look at, each embedding made once.
`protocol` says what decides scores, `suite` and `drawing` are what goes in and what comes out.
"""
