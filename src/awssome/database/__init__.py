"""Everything that speaks SQL: the registry, the tenants' schemas, and the servers they lie on.

Handlers and jobs annotate their connections with `Connection` from here; nobody above imports SQLAlchemy.
"""

from sqlalchemy.engine import Connection as Connection
