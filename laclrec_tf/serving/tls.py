"""TLS for the server: its certificate, and the authorities whose clients it lets in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from laclrec_tf.errors import InputError, reason_of


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
