"""A real package index for tests: two wheels made by hand, served over TLS on loopback."""

import contextlib
import datetime as dt
import hashlib
import http.server
import io
import ipaddress
import ssl
import threading
import zipfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from control_plane.repos.environments.index import PackageAccess


def wheel(name, version, files, extra=()):
    """A wheel, made by hand."""
    info = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            f"{''.join(f'Requires-Dist: {line}{chr(10)}' for line in extra)}"
        ),
        f"{info}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as made:
        for path, text in contents.items():
            made.writestr(path, text)
        made.writestr(
            f"{info}/RECORD", "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
        )
    return into.getvalue()


def certificate(folder: Path) -> tuple[Path, bytes]:
    """A certificate for 127.0.0.1 that is its own authority; the file with its key, and its PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test index")])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=1)
    )
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
        critical=False,
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    pem = (
        builder.add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(pem + private)
    return path, pem


@contextlib.contextmanager
def package_index(folder: Path):
    """A package index on loopback, over TLS with an authority that only it knows.

    What a sandbox needs to use it.
    """
    served = {
        "pip": ("pip-1.0-py3-none-any.whl", wheel("pip", "1.0", {})),
        "greet": (
            "greet-1.0-py3-none-any.whl",
            wheel("greet", "1.0", {"greet/__init__.py": "WORD = 'hello'\n"}, ["deep"]),
        ),
        "deep": ("deep-2.0-py3-none-any.whl", wheel("deep", "2.0", {"deep.py": "X = 1\n"})),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            parts = self.path.strip("/").split("/")
            body, kind = b"", "text/html"
            if parts[0] == "simple" and parts[-1] in served:
                file, content = served[parts[-1]]
                digest = hashlib.sha256(content).hexdigest()
                body = f'<a href="/files/{file}#sha256={digest}">{file}</a>'.encode()
            elif parts[0] == "files":
                body, kind = (
                    next(content for file, content in served.values() if file == parts[1]),
                    "application/zip",
                )
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            """Quiet."""

    keys, pem = certificate(folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    host = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield PackageAccess(f"https://{host}/simple", (), pem, (f"{host},private",))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
