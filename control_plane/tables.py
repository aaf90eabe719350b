"""Every table, imported in one place, so that `metadata` is whole."""

from control_plane.agents import models as agents
from control_plane.audit import models as audit
from control_plane.auth import models as auth
from control_plane.db.base import Base
from control_plane.escalations import models as escalations
from control_plane.gate_reports import models as gate_reports
from control_plane.judgements import models as judgements
from control_plane.packets import models as packets
from control_plane.projects import models as projects
from control_plane.repos import models as repos
from control_plane.runs import models as runs
from control_plane.sessions import models as sessions
from control_plane.sites import models as sites
from control_plane.tasks import models as tasks
from control_plane.traces import models as traces

ROOMS = (
    agents,
    audit,
    auth,
    escalations,
    gate_reports,
    judgements,
    packets,
    projects,
    repos,
    runs,
    sessions,
    sites,
    tasks,
    traces,
)
metadata = Base.metadata
