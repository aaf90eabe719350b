"""What handlers ask for: the services, a transaction, the operator."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.auth.service import Operator
from control_plane.services import Services


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


async def _session(services: ServicesDep) -> AsyncIterator[AsyncSession]:
    """One short transaction, committed before the answer is sent."""
    async with services.sessions.begin() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(_session, scope="function")]


def _operator(request: Request) -> Operator:
    operator: Operator = request.state.operator
    return operator


OperatorDep = Annotated[Operator, Depends(_operator)]
