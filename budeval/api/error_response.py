"""The one shape of every answer that is not a success."""

from pydantic import BaseModel, Field


class ErrorResponse(BaseModel):
    """Every answer that is not a success."""

    object: str = "error"
    message: str
    type: str = Field(description="Class of the failure, as `RequestError`.")
    param: str | None = Field(None, description="The field at fault.")
    code: str = Field(description="Stable; never changes its meaning.")


ERRORS: dict[int | str, dict[str, type[ErrorResponse]]] = {
    status: {"model": ErrorResponse} for status in (400, 401, 403, 404, 409, 410, 413, 422, 429, 502, 503)
}
"""What any route may answer, for the OpenAPI document."""
