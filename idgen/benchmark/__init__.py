"""The comparison: methods x subjects x seeds, each cell a fit and a test in processes of its own.

`config` says what is compared, `plan` turns it into cells, `executor` runs them, `results` reads
what they leave, `bootstrap` and `summary` turn that into means and intervals, `tables` and
`report` write it down.
"""
