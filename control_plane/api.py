"""The operator API as one application: every route, every error, the token check."""

from typing import Any

from fastapi import APIRouter, FastAPI

from control_plane.auth.middleware import RequireToken
from control_plane.auth.service import Operator, authenticate
from control_plane.gate_reports.api import router as reports
from control_plane.projects.api import router as projects_and_modules
from control_plane.repos.api import router as repositories
from control_plane.runs.api import router as run_routes
from control_plane.services import Services
from control_plane.sessions.api import router as session_routes
from control_plane.tasks.api import router as task_routes
from control_plane.web import health, problems


def create_app(services: Services) -> FastAPI:
    """The application over `services`.

    It starts and stops nothing: whoever serves it owns what is behind it.
    """
    app = FastAPI(
        title="Virtual Software Company",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.services = services
    api = APIRouter(prefix="/v1")
    for router in (
        health.router,
        repositories,
        projects_and_modules,
        task_routes,
        session_routes,
        run_routes,
        reports,
    ):
        api.include_router(router)

    @api.get("/openapi.json", include_in_schema=False)
    async def schema() -> dict[str, Any]:
        return app.openapi()

    app.include_router(api)
    problems.install(app)

    async def who(token: str) -> Operator | None:
        async with services.sessions.begin() as session:
            return await authenticate(session, token)

    app.add_middleware(RequireToken, authenticate=who)
    return app
