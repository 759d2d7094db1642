"""TLS for the server: its certificate, and the authorities whose clients it lets in."""

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
    roots = _read_client_file("root_certificates", root_certificates)
    try:
        ssl.create_default_context(cadata=roots.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise InputError(
            f"Argument `root_certificates` must be a PEM file of certificates. Received: {root_certificates}."
        ) from None
    if client_certificate is None or client_key is None:
        return grpc.ssl_channel_credentials(roots)
    chain, key = (
        _read_client_file("client_certificate", client_certificate),
        _read_client_file("client_key", client_key),
    )
    try:
        # The password is asked for in the terminal otherwise.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(client_certificate, client_key, password="")
    except (ssl.SSLError, ValueError):
        raise InputError(
            "Arguments `client_certificate` and `client_key` must be PEM files of a certificate and of its own key, "
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
    """PEM files.

    Args:
        certificate: the server's certificate, followed by those of intermediate authorities.
        key: the certificate's private key, not encrypted.
        client_ca: authorities that must have signed a client's certificate: mutual TLS. Default: any client.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def given(cls, certificate: Path | None, key: Path | None, client_ca: Path | None = None) -> TlsFiles | None:
        """Make it of settings that may all be left out.

        Returns:
            None when nothing is given: no TLS.

        Raises:
            InputError: only a part is given.

        Example:
            >>> TlsFiles.given(Path("server.pem"), None)
            Traceback (most recent call last):
            laclrec_tf.errors.InputError: TLS needs a certificate and its key. Received: a certificate.
        """
        received = {"a certificate": certificate, "a key": key, "a client authority": client_ca}
        if certificate is not None and key is not None:
            return cls(certificate, key, client_ca)
        if any(received.values()):
            given = ", ".join(name for name, file in received.items() if file is not None)
            raise InputError(f"TLS needs a certificate and its key. Received: {given}.")
        return None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files.

        Raises:
            InputError: one cannot be read or is no PEM file of its kind, or certificate and key do not fit together.
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
            return  # a pipe can be read once only
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, _no_password)
        except (ssl.SSLError, OSError) as error:
            # What else OpenSSL may have against it here, gRPC need not have.
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                raise InputError(
                    f"The certificate {self.certificate} and the key {self.key} do not fit together. "
                    "Give the certificate's own key."
                ) from error


def _no_password() -> str:
    # Without an answer, OpenSSL would ask for one at the terminal.
    return ""


def _read(file: Path, kind: bytes) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {file}: {reason_of(error)}.") from error
    if b"-----BEGIN " not in content or kind + b"-----" not in content:
        raise InputError(f"{file} holds no {kind.decode().lower()} in PEM format.")
    return content
