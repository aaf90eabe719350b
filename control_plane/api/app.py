"""The operator API as one application: every route, every error, the token check."""

from typing import Any

from fastapi import APIRouter, FastAPI

from control_plane.api import health, problems
from control_plane.api.description import PROBLEMS, described
from control_plane.api.projects import router as projects_and_modules
from control_plane.api.reports import router as reports
from control_plane.api.repositories import router as repositories
from control_plane.api.runs import router as run_routes
from control_plane.api.sessions import router as session_routes
from control_plane.api.tasks import router as task_routes
from control_plane.api.tokens import RequireToken
from control_plane.auth.service import Operator, authenticate
from control_plane.services import Services


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
        responses=PROBLEMS,
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
        return described(app)

    app.include_router(api)
    problems.install(app)

    async def who(token: str) -> Operator | None:
        async with services.sessions.begin() as session:
            return await authenticate(session, token)

    app.add_middleware(RequireToken, authenticate=who)
    return app
