"""Errors that a request causes."""

from openeo_driver.errors import OpenEOApiException


class RequestError(OpenEOApiException):
    """A mistake of the user: clients do not repeat such a request."""

    status_code = 400
    code = "ProcessParameterInvalid"


class NoDataError(RequestError):
    """Nothing was sensed there and then."""

    code = "NoDataAvailable"
    message = "There is no data available for the given extents."


class UdfError(RequestError):
    """A UDF failed, worded as the real back-end words it."""

    code = "UdfException"

    def __init__(self, trace: str) -> None:
        super().__init__(
            "UDF exception while evaluating processing graph. "
            f"Please check your user defined functions. stacktrace:\n{trace}"
        )
