"""A time limit for the reader's code, on any system: it ends a loop that has no end.

with Limit(30, stuck, path):
    ...                     # TimeUp is raised here, at whatever line is reached
"""

import faulthandler
import os
import pdb
import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Callable
from os import _exit
from pathlib import Path
from unittest import mock


class TimeUp(BaseException):
    """The time is over. No `except Exception` catches it."""


class Limit:
    """Raise TimeUp in the main thread once it has been in the block for some seconds.

    If it catches that and goes on, `stuck` is called with the line of `path` it is at. If it sits
    in one call of C's and hears nothing, Python's own watchdog ends it with a traceback. What ends
    Python without a word, os._exit, raises SystemExit here.
    """

    def __init__(self, seconds: float, path: Path, stuck: Callable[[int], None]):
        self.seconds, self.path, self.stuck, self.grace = seconds, str(path), stuck, min(3, seconds)
        self.over, self.lock, self.is_up = threading.Event(), threading.Lock(), False
        self.no_exit = mock.patch.object(os, "_exit", self.leave)

    def __enter__(self):
        self.main, self.handler = threading.get_ident(), signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, self.interrupted)  # by Ctrl-C, or by interrupt_main
        sys.breakpointhook = self.debug
        self.no_exit.start()
        self.process = os.getpid()
        last = self.seconds + 2 * self.grace
        faulthandler.dump_traceback_later(last, exit=True, file=sys.__stderr__)
        threading.Thread(target=self.watch, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.lift()
        self.no_exit.stop()
        sys.breakpointhook = sys.__breakpointhook__
        signal.signal(signal.SIGINT, self.handler)

    def lift(self):
        """End the limit."""
        with self.lock:
            self.over.set()
        faulthandler.cancel_dump_traceback_later()

    def debug(self, *_, **__):
        """Open the debugger where the reader wrote `breakpoint()`: for as long as they like."""
        self.lift()
        pdb.Pdb(stdout=sys.__stdout__).set_trace(sys._getframe(1))

    def leave(self, status: int):
        """Take the place of os._exit; a process that the reader forked does end."""
        if os.getpid() != self.process:
            _exit(status)
        raise SystemExit(status)

    def interrupted(self, *_):
        """Raise in the main thread what the interruption was."""
        raise TimeUp if self.is_up else KeyboardInterrupt

    def watch(self):
        """Wait, interrupt, wait again, and give up."""
        if self.over.wait(self.seconds):
            return
        with self.lock:
            if self.over.is_set():
                return
            self.is_up = True
            self.interrupt()
        if not self.over.wait(self.grace):
            self.stuck(self.line())

    def interrupt(self):
        """Interrupt the main thread, even where it sleeps or waits for input, if the system can."""
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(self.main, signal.SIGINT)
        else:
            interrupt_main()

    def line(self) -> int:
        """Return the line of the reader's file that runs now; 0 if none."""
        frame = sys._current_frames()[self.main]
        while frame and frame.f_code.co_filename != self.path:
            frame = frame.f_back
        return frame.f_lineno if frame else 0
