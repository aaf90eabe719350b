"""Fixtures of tests that need an S3 server."""

import shutil
import tempfile
from pathlib import Path

import pytest
from s3_kit import S3Server, versitygw


@pytest.fixture(scope="session")
def s3_program():
    program = versitygw()
    if program is None:
        pytest.skip("S3 is left out: versitygw is built by Go, which is missing or cannot fetch it")
    return program


@pytest.fixture(scope="session")
def s3_server(s3_program):
    """One server for the tests of this process that do it no harm."""
    root = Path(tempfile.mkdtemp(prefix="vsc-s3-"))
    server = S3Server(s3_program, root).start()
    yield server
    server.kill()
    shutil.rmtree(root)


@pytest.fixture
def s3_victim(s3_program, tmp_path):
    """A server of the test's own, to be killed."""
    server = S3Server(s3_program, tmp_path / "s3").start()
    yield server
    server.kill()
