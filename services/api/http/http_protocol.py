"""Problem documents for malformed HTTP and for heads that are too large."""

from services.api.http.problems import MEDIA_TYPE, problem
from shared.http_server import BoundedHttpProtocol

HEAD_MAX_BYTES = BoundedHttpProtocol.head_max_bytes


class HttpProtocol(BoundedHttpProtocol):
    """One connection: a parse error is answered with a problem document, and a head of more than `HEAD_MAX_BYTES` with
    431.
    """

    def send_400_response(self, msg: str) -> None:
        self._refuse("bad-http", msg)

    def refuse_head(self) -> None:
        self._refuse("head-too-large", f"The request line and headers exceed {HEAD_MAX_BYTES} bytes.")

    def _refuse(self, type_: str, detail: str) -> None:
        response = problem(type_, detail)
        self.respond_and_close(response.status_code, MEDIA_TYPE, bytes(response.body))
