"""Google Cloud's clients, and its refusals in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from laclrec_tf.errors import InputError

_NO_CREDENTIALS = (
    "No Google Cloud credentials were found. Run `gcloud auth application-default login`, or let "
    "GOOGLE_APPLICATION_CREDENTIALS name a service account's key file."
)


@dataclass(frozen=True)
class VertexClient:
    """Who asks, and whom.

    Args:
        project: Google Cloud project.
        region: such as "us-central1".
        api_endpoint: address of Vertex AI's API. With "http://" or "https://" before it, it is spoken to in JSON
            instead of gRPC. Default: None, the region's own.
    """

    project: str
    region: str
    api_endpoint: str | None = None

    @property
    def parent(self) -> str:
        """What jobs, models and endpoints belong to."""
        return f"projects/{self.project}/locations/{self.region}"

    def service(self, name: str) -> Any:
        """Return a client of `google.cloud.aiplatform_v1` by name, such as "JobServiceClient".

        Raises:
            InputError: the extra `vertex` is not installed, or there are no credentials.
        """
        vertex = import_vertex()
        endpoint = self.api_endpoint or f"{self.region}-aiplatform.googleapis.com"
        with refusals(f"Vertex AI in {self.region}"):
            return getattr(vertex, name)(
                client_options={"api_endpoint": endpoint},
                transport="rest" if "://" in endpoint else "grpc",
            )

    def storage(self) -> Any:
        """Return a client of Cloud Storage.

        Raises:
            InputError: as above.
        """
        import_vertex()
        from google.cloud import storage

        with refusals("Cloud Storage"):
            return storage.Client(project=self.project)


def import_vertex() -> Any:
    """Import `google.cloud.aiplatform_v1`.

    Raises:
        InputError: the extra is not installed.
    """
    try:
        from google.cloud import aiplatform_v1
    except ImportError:
        raise InputError(
            "Vertex AI takes google-cloud-aiplatform. Install it with `pip install 'laclrec_tf[vertex]'`."
        ) from None
    return aiplatform_v1


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn what Google Cloud answers instead of a result into an `InputError`.

    Args:
        what: is asked; begins the message.

    Raises:
        InputError: credentials are missing or not accepted, the call was refused, or nobody answered.
    """
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError, Unauthorized
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from requests.exceptions import ConnectionError as NoConnection

    try:
        yield
    except DefaultCredentialsError as error:
        named = "GOOGLE_APPLICATION_CREDENTIALS" if "was not found" in str(error) else None
        raise InputError(f"{_NO_CREDENTIALS} {error}" if named else _NO_CREDENTIALS) from None
    except (Unauthorized, GoogleAuthError) as error:
        raise InputError(
            f"{what}: the credentials are not accepted: {_first_line(error)}. "
            "Run `gcloud auth application-default login` again."
        ) from None
    except Forbidden as error:
        raise InputError(
            f"{what}: not allowed: {_first_line(error)}. Give the account the role that names it, or another account."
        ) from None
    except NotFound as error:
        raise InputError(f"{what}: not found: {_first_line(error)}. Check the names and --region.") from None
    except GoogleAPICallError as error:
        raise InputError(f"{what}: refused: {_first_line(error)}.") from None
    except (RetryError, NoConnection) as error:
        raise InputError(f"{what} does not answer: {_first_line(error)}. Check the network and --region.") from None


def finished(operation: Any, what: str, seconds: float, on_wait: Callable[[], None] | None = None) -> Any:
    """Wait for a long-running operation and return its result.

    Args:
        operation: as the client returned it.
        what: it does; begins a refusal's message.
        seconds: longest wait.
        on_wait: called before waiting. Default: None.

    Raises:
        InputError: it failed, or takes longer.
    """
    from concurrent.futures import TimeoutError as TookLonger

    if on_wait is not None:
        on_wait()
    with refusals(what):
        try:
            return operation.result(timeout=seconds)
        except TookLonger:
            raise InputError(
                f"{what} takes longer than {seconds / 60:.0f} minutes. It goes on; watch {operation.operation.name}."
            ) from None


def _first_line(error: Exception) -> str:
    text = getattr(error, "message", None) or str(error)
    return (str(text).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
