"""TLS: the certificate files of clients and servers."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from laclrec_tf.errors import InputError, reason_of


def channel_credentials(
    root_certificates: str | Path | None,
    client_certificate: str | Path | None,
    client_key: str | Path | None,
) -> grpc.ChannelCredentials | None:
    """Read the files of a client.

    Args:
        root_certificates: PEM file of the authorities that may have signed the server's certificate. None for
            a connection without TLS.
        client_certificate: PEM file of the client's certificate chain, for mutual TLS; or None.
        client_key: PEM file of the private key of `client_certificate`, without a password; or None.

    Returns:
        The credentials; None for a connection without TLS.

    Raises:
        InputError: a file is missing or has other content, the key does not belong to the certificate, or an
            argument is missing that another one needs.

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
    roots = _read_client_file("root_certificates", root_certificates)
    try:
        ssl.create_default_context(cadata=roots.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise InputError(
            f"Argument `root_certificates` must be a PEM file of certificates. Received: {root_certificates}."
        ) from None
    if client_certificate is None or client_key is None:
        return grpc.ssl_channel_credentials(roots)
    chain = _read_client_file("client_certificate", client_certificate)
    key = _read_client_file("client_key", client_key)
    try:
        # Without a password here, OpenSSL would ask for one in the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(client_certificate, client_key, password="")
    except (ssl.SSLError, ValueError):
        raise InputError(
            "Arguments `client_certificate` and `client_key` must be PEM files of a certificate and of its key, "
            f"without a password. Received: {client_certificate} and {client_key}."
        ) from None
    return grpc.ssl_channel_credentials(roots, key, chain)


def _read_client_file(argument: str, file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"Argument `{argument}`: cannot read {file}: {reason_of(error)}.") from error


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files of a server.

    Args:
        certificate: the server's certificate, followed by those of intermediate authorities.
        key: the certificate's private key, not encrypted.
        client_ca: the authorities that must have signed the clients' certificates, for mutual TLS. Default: none,
            clients need no certificate.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def if_given(cls, certificate: Path | None, key: Path | None, client_ca: Path | None = None) -> TlsFiles | None:
        """Make it from optional settings.

        Returns:
            The files; None, for no TLS, when no file is given.

        Raises:
            InputError: the certificate or its key is missing.

        Example:
            >>> TlsFiles.if_given(Path("server.pem"), None)
            Traceback (most recent call last):
            laclrec_tf.errors.InputError: TLS needs a certificate and its key. Received: a certificate.
        """
        if certificate is not None and key is not None:
            return cls(certificate, key, client_ca)
        files = {"a certificate": certificate, "a key": key, "a client authority": client_ca}
        received = [name for name, file in files.items() if file is not None]
        if received:
            raise InputError(f"TLS needs a certificate and its key. Received: {', '.join(received)}.")
        return None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files.

        Raises:
            InputError: a file cannot be read or is not a PEM file of its kind, or the key is not the certificate's.
        """
        certificate = _read(self.certificate, b"CERTIFICATE")
        key = _read(self.key, b"PRIVATE KEY")
        self._check_pair()
        if self.client_ca is None:
            return grpc.ssl_server_credentials([(key, certificate)])
        authorities = _read(self.client_ca, b"CERTIFICATE")
        return grpc.ssl_server_credentials([(key, certificate)], authorities, require_client_auth=True)

    def _check_pair(self) -> None:
        if not (self.certificate.is_file() and self.key.is_file()):
            return  # a pipe can be read only once
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, _no_password)
        except (ssl.SSLError, OSError) as error:
            # gRPC may accept the files in spite of other errors of OpenSSL.
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                raise InputError(
                    f"The key {self.key} does not belong to the certificate {self.certificate}. "
                    "Give the certificate's key."
                ) from error


def _no_password() -> str:
    return ""  # else OpenSSL would ask for a password in the terminal


def _read(file: Path, kind: bytes) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {file}: {reason_of(error)}.") from error
    if b"-----BEGIN " not in content or kind + b"-----" not in content:
        raise InputError(f"{file} contains no {kind.decode().lower()} in PEM format.")
    return content
