"""The client's side of TLS: certificates read from files, and mistakes in them told before anything is asked."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from laclrec_tf.errors import InputError, reason_of


def channel_credentials(
    root_certificates: str | Path | None,
    client_certificate: str | Path | None,
    client_key: str | Path | None,
) -> grpc.ChannelCredentials | None:
    """Read what a TLS connection needs.

    Args:
        root_certificates: PEM file of the authorities that may have signed the server's certificate. None for
            a connection without TLS.
        client_certificate: PEM file of the client's own certificate chain, for mutual TLS; or None.
        client_key: PEM file of its private key, without a password; or None.

    Returns:
        The credentials; None for a connection without TLS.

    Raises:
        InputError: a file is missing or holds something else, the key does not belong to the certificate, or
            one argument needs another one.

    Example:
        >>> channel_credentials(None, None, None) is None
        True
    """
    if (client_certificate is None) != (client_key is None):
        raise InputError("Mutual TLS needs both, `client_certificate` and `client_key`. Received: one of them.")
    if root_certificates is None:
        if client_certificate is not None:
            raise InputError(
                "`client_certificate` needs `root_certificates`: the PEM file of the authority that signed the "
                "server's certificate."
            )
        return None
    roots = _read("root_certificates", root_certificates)
    try:
        ssl.create_default_context(cadata=roots.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise InputError(
            f"Argument `root_certificates` must be a PEM file of certificates. Received: {root_certificates}."
        ) from None
    if client_certificate is None or client_key is None:
        return grpc.ssl_channel_credentials(roots)
    chain, key = _read("client_certificate", client_certificate), _read("client_key", client_key)
    try:
        # The password is asked for in the terminal otherwise.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(client_certificate, client_key, password="")
    except (ssl.SSLError, ValueError):
        raise InputError(
            "Arguments `client_certificate` and `client_key` must be PEM files of a certificate and of its own key, "
            f"without a password. Received: {client_certificate} and {client_key}."
        ) from None
    return grpc.ssl_channel_credentials(roots, key, chain)


def _read(argument: str, file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"Argument `{argument}`: cannot read {file}: {reason_of(error)}.") from error
