"""The one table of drivers: whole, and the same after a row has held it."""

from control_plane.api.schemas import tasks as schemas
from control_plane.sessions.drivers import (
    KINDS,
    CommandDriver,
    Product,
    driver_from_json,
    driver_to_json,
    kind,
)
from runners import protocol


def test_a_driver_comes_back_from_its_row():
    driver = CommandDriver(("sh", "-c", "true"), {"A": "b"})

    assert driver_from_json(driver_to_json(driver)) == driver
    assert kind(driver).in_capsule(driver) == protocol.CommandDriver(
        ("sh", "-c", "true"), {"A": "b"}
    )


def test_every_kind_can_be_asked_for_and_is_known_inside_the_sandbox():
    assert set(KINDS) == {schemas.CommandDriver.model_fields["kind"].annotation.__args__[0]}
    assert set(KINDS) <= set(protocol.DRIVERS)
    assert all(row.products <= set(Product) and row.products for row in KINDS.values())
