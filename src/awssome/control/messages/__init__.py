"""The bodies of the central API (`/api/v1`). The management application answers with them, clients parse them.

Times are aware and in UTC, ids are UUIDs, seconds are floats. Every error has the one shape `ErrorBody`.
"""

from awssome.control.messages.archives import ArchiveOut as ArchiveOut
from awssome.control.messages.archives import ArchivePage as ArchivePage
from awssome.control.messages.archives import RestoreOut as RestoreOut
from awssome.control.messages.archives import StartRestore as StartRestore
from awssome.control.messages.audit import AuditPage as AuditPage
from awssome.control.messages.audit import AuditRow as AuditRow
from awssome.control.messages.base import Accepted as Accepted
from awssome.control.messages.base import Body as Body
from awssome.control.messages.base import ErrorBody as ErrorBody
from awssome.control.messages.base import Problem as Problem
from awssome.control.messages.moves import MoveOut as MoveOut
from awssome.control.messages.moves import MovePage as MovePage
from awssome.control.messages.moves import StartMove as StartMove
from awssome.control.messages.people import AccountOut as AccountOut
from awssome.control.messages.people import ChangePassword as ChangePassword
from awssome.control.messages.people import CreateOperator as CreateOperator
from awssome.control.messages.people import Denial as Denial
from awssome.control.messages.people import HandoverOut as HandoverOut
from awssome.control.messages.people import LinkInfo as LinkInfo
from awssome.control.messages.people import LinkToken as LinkToken
from awssome.control.messages.people import Resend as Resend
from awssome.control.messages.people import SessionInfo as SessionInfo
from awssome.control.messages.people import SessionOut as SessionOut
from awssome.control.messages.people import SignIn as SignIn
from awssome.control.messages.people import SignUp as SignUp
from awssome.control.messages.people import SwitchTenant as SwitchTenant
from awssome.control.messages.people import TicketIn as TicketIn
from awssome.control.messages.people import UseLink as UseLink
from awssome.control.messages.servers import AddServer as AddServer
from awssome.control.messages.servers import ServerRow as ServerRow
from awssome.control.messages.tenants import CreateTenant as CreateTenant
from awssome.control.messages.tenants import Credentials as Credentials
from awssome.control.messages.tenants import PlacementRow as PlacementRow
from awssome.control.messages.tenants import TenantDetail as TenantDetail
from awssome.control.messages.tenants import TenantPage as TenantPage
from awssome.control.messages.tenants import TenantRow as TenantRow
from awssome.control.messages.workspace import AuthorizeOut as AuthorizeOut
from awssome.control.messages.workspace import AwsRole as AwsRole
from awssome.control.messages.workspace import CallbackIn as CallbackIn
from awssome.control.messages.workspace import CallbackOut as CallbackOut
from awssome.control.messages.workspace import ChangeRole as ChangeRole
from awssome.control.messages.workspace import ConnectIn as ConnectIn
from awssome.control.messages.workspace import ContextOut as ContextOut
from awssome.control.messages.workspace import HubSpotOut as HubSpotOut
from awssome.control.messages.workspace import Invite as Invite
from awssome.control.messages.workspace import MemberOut as MemberOut
from awssome.control.messages.workspace import MembershipOut as MembershipOut
from awssome.control.messages.workspace import PlacementOut as PlacementOut
from awssome.control.messages.workspace import SyncOut as SyncOut
from awssome.control.messages.workspace import TenantOut as TenantOut
