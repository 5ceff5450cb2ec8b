"""The broker's address, read without ever repeating what is in it: it holds a password."""

from urllib.parse import urlsplit

import pika

from maestro.errors import BadInput


def parameters_of(uri: str, setting: str) -> pika.URLParameters:
    """pika's reading of the URI that `setting` holds. Raises BadInput, which names the setting alone."""
    try:
        parameters = pika.URLParameters(uri)
        torn = _is_torn(uri)
    except Exception:  # noqa: BLE001  # pika documents none in particular
        torn = True
    if torn:
        # Outside of the handler, so not chained: the parser's message can hold the password's beginning.
        raise BadInput(
            f"{setting} can't be read; write amqp://user:password@host:5672/vhost, percent-encoded "
            "(# as %23, / as %2F)."
        )
    return parameters


def _is_torn(uri: str) -> bool:
    """Whether a bare #, ? or / ended the host early: `user:7#x@broker` reads as the host `user`, port 7."""
    parts = urlsplit(uri)
    return "@" in uri and "@" not in parts.netloc
