"""Processes that end with the one that started them, without a word of their own."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
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


# FOLDED: A request to stop, as a spot machine sends it before it goes.
class StopRequest:
    """Notes SIGTERM while a block runs, in place of what it does otherwise.

    Outside the main thread Python takes no signals, so there nothing is noted.

    Example:
        >>> with StopRequest() as stop:
        ...     stop.received
        False
    """

    def __init__(self) -> None:
        self.received = False
        self._before: Any = None

    def __enter__(self) -> StopRequest:
        """Begin to listen."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Listen no more."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True


# FOLDED: Something done again and again beside the work under way.
class Repetition:
    """Calls a function every so often in a thread of its own, from entering the context until leaving it.

    Args:
        act: what to call; it says whether to go on.
        every: seconds from the start to the first call, and from the end of a call to the next. None: none is made.
        name: the thread's name.

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
        """Begin."""
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, after the call that is under way."""
        self._stop.set()
        self._thread.join()

    def elapsed(self) -> float:
        """Return the seconds since the start, to a hundredth."""
        return round(time.monotonic() - self._began, 2)

    def _repeat(self) -> None:
        while self._every is not None and not self._stop.wait(self._every):
            if not self._act():
                return


class ProcessKilledError(RuntimeError):
    """A process ended before its function did, most likely for want of memory."""


def call_in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own, so that its memory and its graphs go with it.

    Args:
        function: of a module, as pickle asks for.
        *arguments: what to call it with; what pickle takes.

    Returns:
        What the function returns.

    Raises:
        ProcessKilledError: the process was killed.
        KeyboardInterrupt: this process was interrupted. The other one has ended.
        Exception: what the function raises.

    Example:
        >>> call_in_a_process(divmod, 17, 5)
        (3, 2)
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    task = pickle.dumps((_call_and_tell, (function, arguments)))
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


def _call_and_tell(function: Callable[..., Any], arguments: tuple[Any, ...], sender: Connection) -> None:
    try:
        sender.send((function(*arguments), None))
    except KeyboardInterrupt:
        return  # the parent itself says so
    except Exception as error:
        error.add_note(traceback.format_exc())  # where it happened, which does not travel with it
        sender.send((None, _that_travels(error)))


def _that_travels(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(traceback.format_exc())
    return error


def start_child(process: BaseProcess) -> None:
    """Start a process; an interruption waits until it can be ended without a word.

    A process whose parent leaves in the middle of starting it finds nothing to read, and says so with a traceback;
    so does one that Ctrl-C reaches while it still imports. Therefore SIGTERM waits until the process is started, and
    the process ignores SIGINT: a terminal sends it to everybody, and the parent ends its children itself. In the
    milliseconds of the start the parent does not hear it either. Outside the main thread, where Python takes no
    signals, the process is started as always.

    Args:
        process: not started yet. Its arguments fit into a pipe, 64 KB: a longer start would hear no signal.

    Raises:
        KeyboardInterrupt: SIGTERM came meanwhile, and interrupts. The process runs; end it.

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
    """End a process, by force if it does not listen: a training notes SIGTERM, and may take long to act on it.

    Args:
        process: one that runs, has ended, or was never started.

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
