"""What every schema of the API is made from."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

KeyText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]
LongLine = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class StrictModel(BaseModel):
    """What comes in: no unknown field, no value of a neighbouring type."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ViewModel(BaseModel):
    """What goes out, read from a row."""

    model_config = ConfigDict(from_attributes=True)
