"""Fixtures for the handle: a stage for a subject, a world for a test that runs in each, a scripted driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sql.fixtures import scripted, world
from tests.sql.stages import MariaDBStage, PostgresStage, SQLiteStage, Stage
from tests.sql.subjects import Subject

__all__ = ["scripted", "stage", "world"]


@pytest.fixture
def stage(subject: Subject, request: pytest.FixtureRequest, tmp_path: Path) -> Stage | SQLiteStage:
    """Where the subject plays; its server is started when it is first asked for."""
    if subject.family == "postgresql":
        return PostgresStage(request.getfixturevalue("postgres"))
    if subject.family == "mysql":
        return MariaDBStage(request.getfixturevalue("mariadb"))
    return SQLiteStage(tmp_path)
