"""The async engine and the session factory; built once by the composition root."""

from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

Sessions = async_sessionmaker[AsyncSession]
"""`async with sessions.begin() as session:` is one short transaction (STYLE, rule 6)."""


def new_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """An engine over `postgresql+psycopg://...`.

    Statements and waits for locks are bounded: nothing hangs for ever.
    """
    options = (
        "-c statement_timeout=60s -c lock_timeout=30s -c idle_in_transaction_session_timeout=60s "
        "-c timezone=UTC"
    )
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={"options": options, "application_name": "vsc", "connect_timeout": 10},
    )


def session_factory(engine: AsyncEngine) -> Sessions:
    """Sessions whose objects stay readable after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False)
