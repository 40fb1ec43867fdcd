"""A search over settings: trials on the benchmark's cells, chosen by Optuna.

`config` is what its YAML says, `space` what a parameter may be, `search` asks for values and is
told scores, `trial` is one set of values with its cells, `running` the loop, `checking` refuses
before work, `outcome` and `page` are what comes out.
"""
