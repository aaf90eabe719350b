"""One company for all acceptance tests of a worker.

Environments and base results are shared, as in life.
"""

import pytest
from company_kit import test_company as a_company


@pytest.fixture(scope="session")
async def company():
    async with a_company(judge_again=0, poll_s=0.2) as opened:
        yield opened
