"""TLS by two settings: who is let in with what, certificates that are renewed, bad pairs, slow and broken clients."""

import hashlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import pytest
import requests
import vt

import weirtest
from weirtest import Server, assert_error, marker, wait_for

LOCAL = "127.0.0.1"


def openssl(*args, **kwargs):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, timeout=60,
                          stdin=kwargs.pop("stdin", subprocess.DEVNULL), **kwargs)
    return done


class Authority:
    """A root, an intermediate below it, and certificates for this machine from that one."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.make("root", None, "basicConstraints=critical,CA:TRUE")
        self.make("middle", "root", "basicConstraints=critical,CA:TRUE,pathlen:0")

    def path(self, name, ending):
        return self.folder / f"{name}.{ending}"

    def make(self, name, issuer, extensions, days=30, kind=("EC", "ec_paramgen_curve:P-256"), not_after=None):
        key, request, config = self.path(name, "key"), self.path(name, "csr"), self.path(name, "cnf")
        config.write_text(extensions + "\n")
        assert openssl("genpkey", "-algorithm", kind[0], "-pkeyopt", kind[1], "-out", key).returncode == 0
        key.chmod(0o600)
        openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        sign = ["-signkey", key] if not issuer else ["-CA", self.path(issuer, "pem"), "-CAkey", self.path(issuer, "key"),
                                                     "-CAcreateserial"]
        done = openssl("x509", "-req", "-in", request, *sign, "-days", days, "-extfile", config,
                       "-out", self.path(name, "pem"))
        assert done.returncode == 0, done.stderr

    def server(self, name, **kwargs):
        """The two files of a server's certificate: with the intermediate behind it, and the key."""
        self.make(name, "middle", f"subjectAltName=IP:{LOCAL},DNS:localhost", **kwargs)
        chain = self.path(name, "chain")
        chain.write_bytes(self.path(name, "pem").read_bytes() + self.path("middle", "pem").read_bytes())
        return chain, self.path(name, "key")

    @property
    def root(self):
        return str(self.path("root", "pem"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


class TlsServer(Server):
    """A server whose own questions (is it ready?) go over TLS as well."""

    def __init__(self, authority, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.root = authority.root

    @property
    def base(self):
        return f"https://{LOCAL}:{self.port}"

    def is_ready(self):
        self.require_alive()
        try:
            return weirtest.direct_session().get(f"{self.base}/readyz", timeout=5, verify=self.root).status_code == 200
        except requests.ConnectionError:
            return False

    def api(self, key=None):
        api = super().api(key)
        api.session.verify = self.root
        return api

    def hello(self, **context):
        """A TLS connection of Python's own; what `context` says is set on it."""
        c = ssl.create_default_context(cafile=self.root)
        for name, value in context.items():
            setattr(c, name, value)
        return c.wrap_socket(socket.create_connection((LOCAL, self.port), timeout=30), server_hostname=LOCAL)

    def counter(self, name):
        text = self.api().get("//metrics").text
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"weir_{name} "))


@pytest.fixture
def make_tls(weir_bin, servers, authority, tmp_path):
    made = []

    def make(certificate, key, *args, name="weir"):
        one = TlsServer(authority, weir_bin, tmp_path / name, "--tls-certificate", certificate, "--tls-key", key, *args)
        made.append(one)
        servers.append(one)
        return one

    yield make
    for one in made:
        if one.process:
            one.stop()


@pytest.fixture(scope="module")
def tls(weir_bin, servers, authority, tmp_path_factory):
    certificate, key = authority.server("weir")
    one = TlsServer(authority, weir_bin, tmp_path_factory.mktemp("weir"), "--tls-certificate", certificate,
                    "--tls-key", key)
    servers.append(one)
    try:
        yield one.start()
        one.stop()
    finally:
        servers.remove(one)
        if one.process:
            one.kill()


# ---- clients ----


def test_requests_and_links_over_tls(tls):
    api = tls.api(tls.someone())
    data = os.urandom(3_000_000)
    name = hashlib.sha256(data).hexdigest()
    api.hunt(data)
    assert api.get(f"/files/{name}").json()["data"]["links"]["self"] == f"https://{LOCAL}:{tls.port}/api/v3/files/{name}"
    assert api.get(f"/files/{name}/download").content == data
    part = api.get(f"/files/{name}/download", headers={"Range": "bytes=1000000-2999998"})
    assert part.status_code == 206 and part.content == data[1_000_000:2_999_999]
    url = api.get(f"/files/{name}/download_url").json()["data"]
    assert url.startswith(f"https://{LOCAL}:{tls.port}/")
    assert requests.get(url, verify=tls.root, timeout=30).content == data
    url = api.get("/files/upload_url").json()["data"]
    assert url.startswith("https://")
    answer = requests.post(url, verify=tls.root, headers={"x-apikey": api.key}, files={"file": ("a", data[:-1])}, timeout=60)
    assert answer.status_code == 200


VT_PY = """
import sys, vt
with vt.Client(sys.argv[1], host=sys.argv[2]) as client:
    print(client.get_object("/files/" + sys.argv[3]).size)
"""


def test_vt_py_over_tls(tls):
    """The client learns of the root as OpenSSL's programs do; nothing else of it is changed."""
    data = marker().encode()
    key = tls.someone()
    tls.api(key).hunt(data)
    done = subprocess.run([sys.executable, "-c", VT_PY, key, tls.base, hashlib.sha256(data).hexdigest()],
                          env={**os.environ, "SSL_CERT_FILE": tls.root}, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(len(data)), done.stderr


def test_curl_resumes_over_tls(tls, tmp_path):
    data = os.urandom(2_000_000)
    api = tls.api(tls.someone())
    api.hunt(data)
    url = api.get(f"/files/{hashlib.sha256(data).hexdigest()}/download_url").json()["data"]
    target = tmp_path / "part"
    target.write_bytes(data[:777_777])
    subprocess.run([shutil.which("curl"), "--noproxy", "*", "-sf", "--cacert", tls.root, "-C", "-", "-o", target, url],
                   check=True, timeout=60)
    assert target.read_bytes() == data


def s_client(tls, *args):
    done = subprocess.run(["openssl", "s_client", "-connect", f"{LOCAL}:{tls.port}", "-CAfile", tls.root,
                           "-verify_return_error", *args],
                          input="GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                          capture_output=True, text=True, timeout=30)
    return done


@pytest.mark.parametrize("args, spoken", (
    ((), "TLSv1.3"), (("-tls1_3",), "TLSv1.3"), (("-tls1_2",), "TLSv1.2"),
    (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "TLSv1.2"),
    (("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"), "TLSv1.2"),
    (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), None), (("-tls1", "-cipher", "ALL:@SECLEVEL=0"), None),
    (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"), None),
    (("-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"), None),
    (("-tls1_2", "-cipher", "NULL:@SECLEVEL=0"), None)))
def test_versions_and_ciphers(tls, args, spoken):
    done = s_client(tls, "-ign_eof", *args)
    if spoken:
        assert f"Protocol  : {spoken}" in done.stdout or f"New, {spoken}" in done.stdout, done.stdout + done.stderr
        assert "Verify return code: 0 (ok)" in done.stdout and "HTTP/1.1 200 OK" in done.stdout
    else:
        assert "HTTP/1.1 200" not in done.stdout and done.returncode != 0


def test_the_chain_is_sent(tls, authority):
    done = s_client(tls, "-showcerts", "-ign_eof")
    assert done.stdout.count("-----BEGIN CERTIFICATE-----") == 2
    assert "CN = middle" in done.stdout


def test_a_session_is_taken_up_again(tls):
    context = ssl.create_default_context(cafile=tls.root)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session = None
    for resumed in (False, True):
        raw = socket.create_connection((LOCAL, tls.port), timeout=30)
        with context.wrap_socket(raw, server_hostname=LOCAL, session=session) as s:
            assert s.session_reused == resumed
            session = s.session


def test_plain_http_is_told(tls):
    answer = requests.get(f"http://{LOCAL}:{tls.port}/healthz", timeout=30)
    assert answer.status_code == 400 and "https://" in answer.json()["error"]["message"]


def test_a_rsa_certificate(authority, make_tls):
    server = make_tls(*authority.server("rsa", kind=("RSA", "rsa_keygen_bits:2048"))).start()
    assert server.api().get("//healthz").status_code == 200


# ---- renewal ----


def ask(s, path):
    """The status of one answer on an open connection, read to its end."""
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got or not got.split(b"\r\n\r\n", 1)[1].endswith(b"\n"):
        more = s.recv(10_000)
        assert more, got
        got += more
    return int(got.split()[1])


def served(tls):
    with tls.hello() as s:
        return dict(x[0] for x in s.getpeercert()["subject"])["commonName"]


def test_renewal_by_a_signal_keeps_connections(authority, make_tls, tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def install(name):
        for source, target in zip(authority.server(name), (certificate, key), strict=True):
            shutil.copy2(source, target)

    install("first")
    server = make_tls(certificate, key).start()
    assert served(server) == "first"
    with server.hello() as old:
        assert ask(old, "/healthz") == 200
        install("second")
        assert served(server) == "first"
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: served(server) == "second", 10, "the new certificate is not served")
        assert ask(old, "/readyz") == 200
    # One that cannot be used changes nothing.
    key.write_text("no key")
    start = server.log_path.stat().st_size
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: any(e["event"] == "tls_kept" for e in server.log_events(start)), 10, "nothing is said")
    event = next(e for e in server.log_events(start) if e["event"] == "tls_kept")
    assert str(key) in event["error"] and "no private key" in event["error"]
    assert served(server) == "second"


# ---- bad pairs ----


def refused(weir_bin, tmp_path, *args):
    done = subprocess.run([weir_bin, "serve", "--data", tmp_path / "d", "--listen", "127.0.0.1:0", *map(str, args)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not (tmp_path / "d").exists(), done.stderr
    return done.stderr


def test_bad_pairs_are_refused_by_file_and_reason(weir_bin, authority, tmp_path):
    certificate, key = authority.server("good")
    other = authority.server("other")[1]
    empty, locked, missing = tmp_path / "empty", tmp_path / "locked", tmp_path / "missing"
    empty.write_text("")
    assert openssl("ec", "-in", key, "-out", locked, "-aes128", "-passout", "pass:x").returncode == 0
    broken = tmp_path / "broken"
    broken.write_bytes(certificate.read_bytes()[:200])
    large = tmp_path / "large"
    large.write_bytes(bytes(2 << 20))
    for pair, texts in (((certificate, None), ("tls-key' is not set",)), ((None, key), ("tls-certificate' is not set",)),
                        ((certificate, other), (other, "not the key of the certificate", certificate)),
                        ((certificate, missing), (missing, "No such file")), ((missing, key), (missing, "No such file")),
                        ((empty, key), (empty, "no certificate")), ((certificate, empty), (empty, "no private key")),
                        ((key, key), (key, "no certificate")), ((certificate, certificate), ("no private key",)),
                        ((certificate, locked), (locked, "encrypted")), ((broken, key), (broken,)),
                        ((large, key), (large, "1 MB")), ((tmp_path, key), (tmp_path, "not a file"))):
        args = [x for name, value in zip(("--tls-certificate", "--tls-key"), pair, strict=True) if value
                for x in (name, value)]
        said = refused(weir_bin, tmp_path, *args)
        assert all(str(text) in said for text in texts), (pair, said)


def test_what_is_odd_is_told_and_served(authority, make_tls):
    certificate, key = authority.server("old", days=-1)
    key.chmod(0o644)
    server = make_tls(certificate, key)
    server.is_ready = lambda: (server.require_alive(), any(e["event"] == "ready" for e in server.log_events()))[1]
    server.start()
    events = {e["event"]: e for e in server.log_events()}
    assert events["tls_certificate_expired"]["level"] == "warn" and "CN=old" in events["tls_certificate_expired"]["subject"]
    assert "0600" in events["tls_key_exposed"]["means"]
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        server.hello()
    assert s_client_unchecked(server)


def s_client_unchecked(server):
    context = ssl._create_unverified_context()
    with context.wrap_socket(socket.create_connection((LOCAL, server.port), timeout=30)) as s:
        return ask(s, "/healthz") == 200


def test_when_a_certificate_ends_is_a_metric(tls):
    assert 29 * 86400 < tls.counter("tls_certificate_ends_s") - time.time() < 31 * 86400


# ---- clients that harm ----


def test_broken_handshakes_are_counted(tls):
    before = tls.counter("http_handshakes_failed_total")
    for sent in (b"\x16\x03\x01\xff\xff" + bytes(100), b"\x16\x03\x01\x00\x05hello", b"\x16" * 5000):
        with socket.create_connection((LOCAL, tls.port), timeout=30) as s:
            try:
                s.sendall(sent)
                s.shutdown(socket.SHUT_WR)
                while s.recv(1000):
                    pass
            except OSError:
                pass  # it had already closed
    wait_for(lambda: tls.counter("http_handshakes_failed_total") >= before + 3, 10, "they are not counted")
    assert tls.api().get("//readyz").status_code == 200


def test_a_refused_upload_is_answered_over_tls(tls):
    """The answer comes while the body is still being sent."""
    api = tls.api(tls.someone("viewer"))
    assert_error(api.post("/files", files={"file": ("a", bytes(20_000_000))}), 403, "ForbiddenError")
    api = tls.api(tls.someone())
    body = (bytes(1 << 20) for _ in range(40))
    assert_error(api.post("/intelligence/hunting_rulesets", data=body), 413, "BadRequestError")
