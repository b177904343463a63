"""Shows the log of the server where the application has not set up ``logging`` itself."""

from __future__ import annotations

import logging
import logging.config
import sys
from pathlib import Path
from typing import Any

LEVELS = ("critical", "error", "warning", "info", "debug")
FORMAT = "%(asctime)s %(levelname)-7s [%(process)d] %(name)s: %(message)s"


class Fallback(logging.Handler):
    """Shows records on stderr as long as no other handler takes them.

    It looks at each record, so that it does not matter when the application sets up its logging.
    """

    def __init__(self, logger: logging.Logger, *others: logging.Logger) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self._loggers = (logger, *others)
        self._wanted: int | None = None
        self._set = logging.NOTSET

    def show(self, level: str) -> None:
        """Shows records from a level on; the root logger stays as it is."""
        if level not in LEVELS:
            raise ValueError(f"log_level: expected one of {', '.join(LEVELS)}, not {level!r}")
        self._wanted = logging.getLevelName(level.upper())
        if self not in self._loggers[0].handlers:
            self._loggers[0].addHandler(self)
        self.settle()

    def settle(self) -> None:
        """Sets the level, unless the application has: that of our logger, or of the root logger."""
        if self._wanted is None:
            return
        for each in self._loggers:
            # `dictConfig()` disables each logger that it does not name, unless it is told not to.
            each.disabled = False
        logger = self._loggers[0]
        if logger.level not in (logging.NOTSET, self._set):
            return
        self._set = self._wanted if logging.root.level == logging.WARNING else logging.NOTSET
        logger.setLevel(self._set)

    def emit(self, record: logging.LogRecord) -> None:
        if _is_handled(record):
            return
        try:
            # In one piece: workers share a terminal, and their lines must not mix.
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def _is_handled(record: logging.LogRecord) -> bool:
    """Returns true if a handler of the application gets the record."""
    current: logging.Logger | None = logging.getLogger(record.name)
    while current is not None:
        if any(not isinstance(handler, (Fallback, logging.NullHandler)) for handler in current.handlers):
            return True
        current = current.parent if current.propagate else None
    return False


def configure(path: str) -> None:
    """Sets up ``logging`` by a file, as ``--log-config`` does; raises ``ValueError`` that names the file."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        _configure(Path(path).suffix.lower(), path, text)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        raise ValueError(f"{path} is not a configuration for logging: {error}{cause}") from error


def _configure(suffix: str, path: str, text: str) -> None:
    if suffix == ".json":
        import json

        _configure_dict(json.loads(text))
    elif suffix in (".yaml", ".yml"):
        try:
            import yaml  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise ValueError("YAML needs the package PyYAML: pip install pyyaml") from None
        _configure_dict(yaml.safe_load(text))
    else:
        logging.config.fileConfig(path, disable_existing_loggers=False)


def _configure_dict(config: Any) -> None:
    if not isinstance(config, dict):
        raise ValueError(f"expected an object with the key version, not {type(config).__name__}")
    logging.config.dictConfig({"disable_existing_loggers": False, **config})
