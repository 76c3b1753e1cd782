"""What a URL may ask of TLS: the server is verified, unless the caller says aloud otherwise."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any

from dir_redis.errors import StorageConfigurationError
from dir_redis.redis.causes import causes

logger = logging.getLogger(__name__)

# What the other side says when it is this side's certificate that it refuses, or the whole
# handshake; and what its answer is taken for when it does not speak TLS.
_ALERTS = ("ALERT", "WRONG_VERSION_NUMBER", "NO_SHARED_CIPHER", "UNSUPPORTED_PROTOCOL")
_PASSING_ALERTS = ("INTERNAL_ERROR", "CLOSE_NOTIFY", "USER_CANCELLED")


def tls_options(asked: Mapping[str, Any], where: str, *, insecure: bool) -> dict[str, Any]:
    """Return options of redis-py that say how to verify a server, whatever its defaults are.

    Args:
        asked: the connection options of a URL, parsed.
        where: the URL without secrets, for messages.
        insecure: whether the URL may turn verification off.

    Raises:
        StorageConfigurationError: it turns verification off, or a file cannot be used.
    """
    cert_reqs = asked.get("ssl_cert_reqs", "required")
    check_hostname = asked.get("ssl_check_hostname", True)
    if cert_reqs not in ("none", "optional", "required"):
        raise StorageConfigurationError(
            f"cannot use the URL {where!r}: ssl_cert_reqs must be 'required', 'optional' or 'none'"
        )
    weakened = [f"ssl_cert_reqs={cert_reqs}"] if cert_reqs != "required" else []
    weakened += [] if check_hostname else ["ssl_check_hostname=false"]
    if weakened and not insecure:
        raise StorageConfigurationError(
            f"cannot use the URL {where!r}: {' and '.join(weakened)} would let anybody in between "
            "pass for the server. Name its authority by ssl_ca_certs=<file>, and connect by a name "
            "that is in its certificate; or open with insecure_tls=True to accept it"
        )
    if weakened:
        logger.warning(
            "%s is opened with insecure_tls=True and %s: anybody in between can pass for the "
            "server, read the password, and read and change everything",
            where,
            " and ".join(weakened),
        )
    _try_files(asked, where)
    return {
        "ssl_cert_reqs": cert_reqs,
        "ssl_check_hostname": bool(check_hostname) and cert_reqs != "none",
    }


def _try_files(asked: Mapping[str, Any], where: str) -> None:
    """Find out now whether the files can be used, not at the first connection."""
    context = ssl.create_default_context()
    authority = {name: asked.get(f"ssl_{name}") for name in ("ca_certs", "ca_path", "ca_data")}
    names = "ssl_ca_certs, ssl_ca_path or ssl_ca_data"
    try:
        if any(value is not None for value in authority.values()):
            context.load_verify_locations(*authority.values())
        names = "ssl_certfile, ssl_keyfile or ssl_password"
        if asked.get("ssl_certfile") or asked.get("ssl_keyfile"):
            # Without a password OpenSSL would ask for one at the terminal.
            password = asked.get("ssl_password") or ""
            context.load_cert_chain(asked["ssl_certfile"], asked.get("ssl_keyfile"), password)
    except KeyError:
        raise StorageConfigurationError(
            f"cannot use the URL {where!r}: ssl_keyfile needs ssl_certfile"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise StorageConfigurationError(
            f"cannot use the URL {where!r}: {names} cannot be used ({why})"
        ) from None


def tls_refusal(error: BaseException) -> str:
    """Say in one sentence why two sides could not agree on TLS; empty if that was not it.

    Args:
        error: what the driver raised; what it was raised from is looked at as well.
    """
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _unverified(cause.verify_message)
        if isinstance(cause, ssl.SSLError) and _is_final(str(cause)):
            return _refused(str(cause))
    return ""


def tls_trouble(error: BaseException) -> str:
    """Say the same of what another try may mend as well: a handshake that nobody answered."""
    if any("handshake operation timed out" in str(cause) for cause in causes(error)):
        return (
            "it did not answer the TLS handshake: does it speak TLS there? Without, write redis://"
        )
    return tls_refusal(error)


def _is_final(text: str) -> bool:
    return any(word in text for word in _ALERTS) and not any(
        word in text for word in _PASSING_ALERTS
    )


def _unverified(why: str) -> str:
    return (
        f"its certificate cannot be verified ({why.rstrip('.')}): name the authority that signed "
        "it by ssl_ca_certs=<file>, connect by a name that is in it, or renew it"
    )


def _refused(text: str) -> str:
    if "WRONG_VERSION_NUMBER" in text:
        return "it does not speak TLS there: look at the port, or write redis://"
    if "CERTIFICATE" in text or "UNKNOWN_CA" in text or "HANDSHAKE_FAILURE" in text:
        reason = text.partition("[SSL: ")[2].partition("]")[0].replace("_", " ").lower()
        return (
            f"it refused this client's certificate, or that there is none ({reason}): give one "
            "that it trusts by ssl_certfile=<file>&ssl_keyfile=<file>"
        )
    return "the two agree on no way to speak TLS: look at the server's protocols and ciphers"
