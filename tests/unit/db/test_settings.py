"""Settings come from the environment, are checked, and do not show secrets."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from control_plane import settings as module
from control_plane.blobs.opening import bucket_of
from control_plane.settings import ApiSettings, GatewaySettings, OrchestratorSettings, Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"VSC_{name.upper()}", raising=False)


def test_a_setting_is_an_environment_variable(monkeypatch):
    monkeypatch.setenv("VSC_HOME", "/srv/vsc")
    monkeypatch.setenv("VSC_LEASE_S", "12.5")
    monkeypatch.setenv("VSC_DATABASE_URL", "postgresql+psycopg://u:hunter2@h/d")
    settings = Settings()
    assert (settings.home, settings.lease_s) == (Path("/srv/vsc"), 12.5)
    assert "hunter2" not in repr(settings)
    assert settings.database_url.get_secret_value().endswith("@h/d")


def test_a_home_and_an_engine_have_one_name_whichever_way_leads_there(monkeypatch, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    named = set()
    for way in (str(tmp_path / "real"), str(tmp_path / "link"), "link", "link/../real"):
        monkeypatch.setenv("VSC_HOME", way)
        monkeypatch.setenv("VSC_ENGINE", f"memory:{tmp_path / way}")
        settings = Settings()
        named.add((settings.home, settings.engine))

    assert named == {(tmp_path / "real", f"memory:{tmp_path / 'real'}")}


def test_the_default_home_is_followed_too(monkeypatch, tmp_path):
    (tmp_path / "real" / "vsc").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "link"))

    assert Settings().home == tmp_path / "real" / "vsc"


def test_a_home_that_leads_in_a_circle_is_refused(monkeypatch, tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    monkeypatch.setenv("VSC_HOME", str(tmp_path / "a"))

    with pytest.raises(ValidationError, match=r"home\n.*name another directory"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("LEASE_S", "0"), ("SANDBOX_UID", "0"), ("WORKERS", "many"), ("POLL_S", "-1")],
)
def test_a_wrong_setting_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"VSC_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_home_is_the_systems_for_root_and_the_users_own_otherwise(monkeypatch):
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    assert Settings().home == Path("/var/lib/vsc")
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/home/me/data")
    assert Settings().home == Path("/home/me/data/vsc")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert Settings().home == Path.home() / ".local/share/vsc"


def test_a_blob_store_is_named_by_its_address_and_its_keys_are_not_shown(monkeypatch):
    assert Settings().blobs is None
    monkeypatch.setenv("VSC_BLOBS", "s3://a-bucket/some/prefix/")
    monkeypatch.setenv("VSC_BLOBS_ENDPOINT", "http://127.0.0.1:9000")
    monkeypatch.setenv("VSC_BLOBS_ACCESS_KEY_ID", "hunter1")
    monkeypatch.setenv("VSC_BLOBS_SECRET_ACCESS_KEY", "hunter2")
    settings = Settings()

    bucket = bucket_of(settings, settings.blobs)

    assert str(bucket) == "s3://a-bucket/some/prefix at http://127.0.0.1:9000"
    assert bucket.secret_access_key.get_secret_value() == "hunter2"
    assert "hunter" not in repr(settings) + repr(bucket)


@pytest.mark.parametrize("address", ["s3://", "s3:///x", "gs://bucket/x", "var/blobs", "s3://A"])
def test_what_is_no_address_of_a_blob_store_is_refused(monkeypatch, address):
    monkeypatch.setenv("VSC_BLOBS", address)
    with pytest.raises(ValidationError):
        Settings()


def test_a_process_reads_what_it_needs_and_nothing_else(monkeypatch):
    monkeypatch.setenv("VSC_WORKERS", "many")
    assert ApiSettings().engine == GatewaySettings().engine == "docker"
    with pytest.raises(ValidationError, match="workers"):
        OrchestratorSettings()
    monkeypatch.setenv("VSC_SANDBOX_UID", "0")
    ApiSettings()
    with pytest.raises(ValidationError, match="sandbox_uid"):
        GatewaySettings()
