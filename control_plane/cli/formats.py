"""The forms in which a report can be had (`GET /v1/runs/{id}/report`)."""

from enum import StrEnum


class ReportFormat(StrEnum):
    """For people, for programs, and what CI systems show beside a change."""

    MD = "md"
    JSON = "json"
    GITHUB = "github"
    GITLAB = "gitlab"
    SARIF = "sarif"
    JUNIT = "junit"
