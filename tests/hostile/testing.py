"""Cases, verdicts and bounded waits for the hostile-client tests. Knows nothing about NBD."""

import os
import time

CASES = {}


class Failed(Exception):
    """The program under test did something wrong."""


class Skipped(Exception):
    """The case cannot run here."""


class Noisy(Failed):
    """A measured limit was exceeded, perhaps because the machine was busy. The case is repeated."""


def case(attempts=1, timed=False):
    """Registers a function as a test case. Its first argument is a `Setup`.

    A case that measures fails with `Noisy` and runs at most `attempts` times. A `timed` case is
    skipped for programs with sanitizers, whose time and memory usage is meaningless.
    """
    def register(function):
        CASES[function.__name__] = function
        function.attempts, function.timed = attempts, timed
        return function
    return register


def expect(condition, text):
    if not condition:
        raise Failed(text)


def expect_within(limit, measured, text):
    """Fails with `Noisy` if a measured value exceeds its limit."""
    if measured > limit:
        raise Noisy(text)


def poll_until(condition, seconds, text, step=0.05):
    """Waits until `condition()` is true and returns its value. `text` may be a function."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{text() if callable(text) else text} (waited {seconds} s)")
        time.sleep(step)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def is_sanitized(program):
    with open(program, "rb") as file:
        data = file.read()
    # GCC's runtime is a shared library; clang's is linked statically.
    return any(word in data for word in (b"__asan_init", b"__tsan_init"))


def yield_cpu():
    """Lets all other processes run first. For hostile loads: a real attacker uses his own CPUs."""
    os.nice(10)
