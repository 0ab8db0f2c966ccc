"""The other end of every channel on the loopback: an HTTP server and an SMTP server that keep what they are told."""

import json
import socketserver
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Sink:
    """What arrived; ``status`` and ``delay_seconds`` are how the server answers."""

    port: int = 0
    status: int = 200
    delay_seconds: float = 0.0
    bodies: list[dict] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def _served(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def http_sink():
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(sink.delay_seconds)
            if sink.status < 300:
                sink.bodies.append(json.loads(body))
                sink.paths.append(self.path)
            self.send_response(sink.status)
            self.end_headers()
            self.wfile.write(b"ok" if sink.status < 300 else b"no")  # Slack's own answer; the others take any

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sink.port = server.server_port
    with _served(server):
        yield sink


@dataclass
class Mailbox:
    port: int = 0
    is_refusing: bool = False
    recipients: list[str] = field(default_factory=list)
    messages: list[EmailMessage] = field(default_factory=list)


@contextmanager
def smtp_sink():
    box = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def answer(self, line):
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self):
            self.answer("220 sink")
            while line := self.rfile.readline().decode().strip():
                verb = line.upper().split(":")[0].split()[0]
                if verb == "DATA":
                    self.answer("354 go on")
                    body = b""
                    while (part := self.rfile.readline()) != b".\r\n":
                        body += part
                    box.messages.append(message_from_bytes(body, policy=policy.default))
                elif verb == "RCPT":
                    if box.is_refusing:
                        self.answer("550 no such user")
                        continue
                    box.recipients.append(line.split("<")[1].split(">")[0])
                self.answer("221 bye" if verb == "QUIT" else "250 ok")
                if verb == "QUIT":
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    box.port = server.server_address[1]
    with _served(server):
        yield box


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
