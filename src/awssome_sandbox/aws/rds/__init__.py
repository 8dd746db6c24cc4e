"""RDS: moto's model of it, with states that take time, rules that hold, and database servers that answer.

`answers` reads requests and holds the rules of `rules` and `catalogue`; `models` keeps instances and snapshots, each
with its states (`instances`); `servers` runs the command that stands behind an instance; `conduct` is what
the options and `POST /_sandbox/rds` set.
"""
