"""Start a process that only its parent ends."""

from __future__ import annotations

import signal
import threading
from multiprocessing.process import BaseProcess

from pipelines.stop_request import StopRequest


def start_child(process: BaseProcess) -> None:
    """Start a process; an interruption waits until it can be ended without a word.

    A process whose parent leaves in the middle of starting it finds nothing to read, and says so with a traceback;
    so does one that Ctrl-C reaches while it still imports. Therefore SIGTERM waits until the process is started, and
    the process ignores SIGINT: a terminal sends it to everybody, and the parent ends its children itself. In the
    milliseconds of the start the parent does not hear it either.

    Args:
        process: not started yet.

    Raises:
        KeyboardInterrupt: SIGTERM came meanwhile. The process has ended.

    Example:
        >>> import multiprocessing, os
        >>> child = multiprocessing.get_context("spawn").Process(target=os.getpid, daemon=True)
        >>> start_child(child)
        >>> child.join()
        >>> child.exitcode
        0
    """
    if threading.current_thread() is not threading.main_thread():  # Python takes no signals here
        process.start()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    if stop.received:
        process.terminate()
        process.join()
        raise KeyboardInterrupt
