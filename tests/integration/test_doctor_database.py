"""What `vsc doctor` says of a database."""

from sqlalchemy import text

from control_plane.audit.service import append_line
from control_plane.cli.doctor import database_finding
from control_plane.db.base import new_id


async def test_an_audit_log_that_was_changed_fails_the_doctor(database, sessions):
    chain = new_id()
    async with sessions.begin() as session:
        for action in ("one", "two"):
            await append_line(session, chain=chain, actor="me", action=action, subject="x")
    assert (await database_finding(database, "here")).state == "ok"

    async with sessions.begin() as session:
        await session.execute(text("ALTER TABLE audit_log DISABLE TRIGGER audit_log_rows"))
        await session.execute(text("UPDATE audit_log SET actor = 'you' WHERE n = 2"))

    finding = await database_finding(database, "here")
    assert finding.state == "fail"
    assert f"{chain} at line 2" in finding.detail
    assert finding.advice
