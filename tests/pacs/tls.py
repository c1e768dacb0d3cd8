"""TLS in front of what speaks none, as a hospital's reverse proxy has it.

Debian 12's Orthanc has TLS of its own, but falls over at the first connection: its web server was not built for this
OpenSSL.
"""

import contextlib
import datetime
import ipaddress
import select
import socket
import socketserver
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Tls:
    """A CA of our own, and what it signed for 127.0.0.1."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.certificate, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests' CA")])
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        key_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
        ca = self._build(ca_name, ca_name, ca_key.public_key()).add_extension(key_id, critical=False)
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
        leaf = self._build(name, ca_name, key.public_key()).add_extension(host, critical=False)
        leaf = leaf.add_extension(authority, critical=False)
        pem = serialization.Encoding.PEM
        self.ca.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
        self.certificate.write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
        self.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    @staticmethod
    def _build(subject, issuer, public):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        return builder.not_valid_after(now + datetime.timedelta(days=2))


class Proxy:
    """Forwards what comes in over TLS to a port of this machine."""

    def __init__(self, tls, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with (
                    contextlib.suppress(OSError),
                    context.wrap_socket(self.request, server_side=True) as outside,
                    socket.create_connection(("127.0.0.1", port)) as inside,
                ):
                    _forward(outside, inside)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _forward(outside, inside):
    while True:
        ready = [outside] if outside.pending() else select.select([outside, inside], [], [], 60)[0]
        for end, other in ((outside, inside), (inside, outside)):
            if end in ready:
                data = end.recv(1 << 16)
                if not data:
                    return
                other.sendall(data)
        if not ready:
            return
