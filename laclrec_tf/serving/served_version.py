"""One version of a served model, from START to END."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.batch_merging import Merging, rows_of
from laclrec_tf.serving.free_memory import return_free_memory
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.merging_probe import probe_merging
from laclrec_tf.serving.prediction import read_request, response_of
from laclrec_tf.serving.serving_error import ServingError
from laclrec_tf.serving.version.warmup import read_warmup_requests

logger = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus.State
START, LOADING, AVAILABLE, UNLOADING, END = (
    State.Value(name) for name in ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
)


class ServedVersion:
    """A version that loads, answers and goes away without anybody noticing.

    Requests hold it while they run (`acquire`, `release`); `unload` waits for them.

    Args:
        model_name: the model's name.
        number: the version's number.
        folder: its folder.
        on_state: called with name, number and the state's name when the state changes. Default: nothing.

    Attributes:
        state: START, LOADING, AVAILABLE, UNLOADING or END, as TensorFlow Serving counts them.
        error: why it could not be loaded. None: it could.
        model: the loaded model; None before and after.
        merging: which requests may be merged, by signature; see `probe_merging`.
    """

    def __init__(
        self,
        model_name: str,
        number: int,
        folder: Path,
        on_state: Callable[[str, int, str], None] | None = None,
    ) -> None:
        """Begin at START."""
        self.model_name, self.number, self.folder = model_name, number, folder
        self.state = START
        self.error: ServingError | None = None
        self.model: LoadedModel | None = None
        self.merging: dict[str, Merging] = {}
        self._on_state = on_state
        self._held = 0
        self._changed = threading.Condition()
        self._set_state(START)

    def load(self, intra_op_threads: int = 0) -> bool:
        """Read the SavedModel, answer its warm-up requests, and become AVAILABLE.

        Args:
            intra_op_threads: see `LoadedModel`. Default: 0, all processors.

        Returns:
            False when that fails: the state is END and `error` says why.
        """
        self._set_state(LOADING)
        try:
            self.model = LoadedModel(self.folder, intra_op_threads)
            self.model.prepare()
            self._warm_up(self.model)
        except Exception as error:  # whatever is in the folder, the server lives on
            known = isinstance(error, InputError)
            message = str(error) if known else f"Cannot load {self.folder}: {type(error).__name__}: {error}"
            code = grpc.StatusCode.FAILED_PRECONDITION if known else grpc.StatusCode.UNKNOWN
            self.error = ServingError(code, " ".join(message.split()))
            self._forget_model()
            self._set_state(END)
            return False
        self._set_state(AVAILABLE)
        return True

    def acquire(self) -> bool:
        """Hold the version for a request. Returns False when it is not AVAILABLE."""
        with self._changed:
            if self.state != AVAILABLE:
                return False
            self._held += 1
            return True

    def release(self) -> None:
        """Let go of the version."""
        with self._changed:
            self._held -= 1
            self._changed.notify_all()

    def unload(self, drain_seconds: float | None = None) -> None:
        """Take no new requests, wait for the running ones, give the memory back.

        Args:
            drain_seconds: how long to wait for them; then they are cancelled. Default: as long as it takes.
        """
        with self._changed:
            if self.state != AVAILABLE:
                return
            self._set_state(UNLOADING)
            self._changed.wait_for(lambda: not self._held, drain_seconds)
        self._forget_model()
        self._set_state(END)

    def status(self) -> get_model_status_pb2.ModelVersionStatus:
        """Return the state as `GetModelStatus` tells it."""
        status = get_model_status_pb2.ModelVersionStatus(version=self.number, state=self.state)
        if self.error is not None:
            status.status.error_code = self.error.code.value[0]
            status.status.error_message = self.error.message
        else:
            status.status.error_code = 0
        return status

    def _warm_up(self, model: LoadedModel) -> None:
        try:
            for request in read_warmup_requests(self.folder):
                asked = read_request(model, request)
                response_of(asked, model.run_complete(asked.signature, asked.inputs))
                known = self.merging.get(asked.signature)
                if known is None and (rows_of(asked.inputs) or 0) > 1:
                    run = partial(model.run_complete, asked.signature)
                    self.merging[asked.signature] = probe_merging(run, asked.inputs)
        except ServingError as error:
            raise InputError(
                f"{self.folder} fails its own warm-up requests: {error.message}. Export the model again."
            ) from error

    def _forget_model(self) -> None:
        if self.model is not None:
            self.model.close()
            self.model = None
            gc.collect()  # TensorFlow's graphs are cycles, and hold much that Python does not count
            return_free_memory()

    def _set_state(self, state: int) -> None:
        self.state = state
        name = State.Name(state)
        if self.error is not None:
            logger.error("model %s, version %d: %s: %s", self.model_name, self.number, name, self.error.message)
        else:
            logger.info("model %s, version %d: %s", self.model_name, self.number, name)
        if self._on_state:
            self._on_state(self.model_name, self.number, name)
