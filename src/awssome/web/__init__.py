"""What the portal and the management portal share: layouts, components, cookies, CSRF, error pages.

Nothing here knows a tenant, a database or an HTTP client. `furnish` gives an application all of it in one call.
"""

from awssome.web.application import furnish as furnish
from awssome.web.pages import Pages as Pages
