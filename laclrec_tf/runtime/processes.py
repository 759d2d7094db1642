"""Signals, repeated work in a thread, and child processes that end quietly with their parent."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Any

from laclrec_tf.runtime.tensorflow_startup import call_quietly

GRACE_SECONDS = 10.0


class StopRequest:
    """Record SIGTERM and SIGINT (Ctrl-C) while a block runs, instead of ending the process.

    Spot machines send SIGTERM before they stop. A second SIGINT interrupts at once. A SIGINT that the process ignores
    stays ignored. Python delivers signals to the main thread only, so in other threads nothing is recorded.

    Args:
        message: line to print on standard error at the first SIGINT. Default: none.

    Attributes:
        received: whether SIGTERM or SIGINT has arrived.

    Example:
        >>> with StopRequest() as stop:
        ...     stop.received
        False
    """

    def __init__(self, message: str = "") -> None:
        self.received = False
        self.message = message
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGTERM]
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                numbers.append(signal.SIGINT)
            self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self.received:
                raise KeyboardInterrupt
            if self.message:
                print(self.message, file=sys.stderr, flush=True)
        self.received = True


class Repetition:
    """Call a function at regular intervals in a separate thread while a block runs.

    Args:
        act: function to call. It returns whether to continue.
        every: seconds from the start to the first call, and from the end of a call to the next. None: no calls.
        name: name of the thread.

    Example:
        >>> with Repetition(lambda: False, every=None, name="nothing") as repetition:
        ...     repetition.elapsed() < 60
        True
    """

    def __init__(self, act: Callable[[], bool], every: float | None, name: str) -> None:
        self._act = act
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def __enter__(self) -> Repetition:
        """Start the thread."""
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread after its current call."""
        self._stop.set()
        self._thread.join()

    def elapsed(self) -> float:
        """Return the seconds since the start, rounded to hundredths."""
        return round(time.monotonic() - self._began, 2)

    def _repeat(self) -> None:
        while self._every is not None and not self._stop.wait(self._every):
            if not self._act():
                return


class ProcessKilledError(RuntimeError):
    """A child process ended before its function returned, probably because memory ran out."""


def call_in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process, whose memory and TensorFlow graphs are freed afterwards.

    Args:
        function: function of a module, so that it can be pickled.
        *arguments: arguments of the function. They must be picklable.

    Returns:
        The result of the function.

    Raises:
        ProcessKilledError: the process was killed.
        KeyboardInterrupt: this process was interrupted. The new process has ended.
        Exception: the exception that the function raised.

    Example:
        >>> call_in_a_process(divmod, 17, 5)
        (3, 2)
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    task = pickle.dumps((_call_and_send, (function, arguments)))
    process = context.Process(target=call_quietly, args=(task, sender), daemon=True)
    try:
        start_child(process)
        sender.close()
        result, error = receiver.recv()
    except EOFError:
        raise ProcessKilledError from None
    finally:
        end_child(process)
    if error is not None:
        raise error
    return result


def _call_and_send(function: Callable[..., Any], arguments: tuple[Any, ...], sender: Connection) -> None:
    try:
        sender.send((function(*arguments), None))
    except KeyboardInterrupt:
        return  # the parent reports it
    except Exception as error:
        error.add_note(traceback.format_exc())  # pickle drops the traceback
        sender.send((None, _picklable(error)))


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(traceback.format_exc())
    return error


def start_child(process: BaseProcess) -> None:
    """Start a process so that an interruption of the parent causes no traceback of the child.

    A child prints a traceback if its parent ends while it starts, or if Ctrl-C reaches it while it imports. So SIGTERM
    is delayed until the child has started. The child ignores SIGINT, which a terminal sends to parent and child: the
    parent ends it with `end_child`. The parent ignores SIGINT too for the milliseconds of the start. Outside the main
    thread, where Python handles no signals, the process is started without these measures.

    Args:
        process: the process, not started yet. Its pickled arguments must fit into a pipe (64 KB), or the start would
            block while signals are ignored.

    Raises:
        KeyboardInterrupt: SIGTERM arrived during the start, and its handler raises. The process runs; end it.

    Example:
        >>> import multiprocessing, os
        >>> child = multiprocessing.get_context("spawn").Process(target=os.getpid, daemon=True)
        >>> start_child(child)
        >>> child.join()
        >>> child.exitcode
        0
    """
    if threading.current_thread() is not threading.main_thread():
        process.start()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    if stop.received:
        signal.raise_signal(signal.SIGTERM)


def end_child(process: BaseProcess) -> None:
    """Terminate a process, and kill it after 10 seconds. A training handles SIGTERM and may take longer to stop.

    Args:
        process: a process that runs, has ended, or was never started.

    Example:
        >>> import multiprocessing, time
        >>> child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,), daemon=True)
        >>> start_child(child)
        >>> end_child(child)
        >>> child.is_alive()
        False
    """
    if process.pid is None:
        return
    process.terminate()
    process.join(GRACE_SECONDS)
    process.kill()
    process.join()
