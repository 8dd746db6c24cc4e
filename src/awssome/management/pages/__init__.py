"""The operators' pages: dense, exact, everything linked.

`routes.install` puts them on the management application. Each module lists its own routes; what a page shows comes from
`management.operations`, which the central API uses as well, so that a page and a script never tell different stories.
"""
