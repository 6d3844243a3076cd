"""A pool of one's own kind of connection: lines over TCP, and a server that hangs up in between."""

from __future__ import annotations

import socket
import socketserver
import threading

import cenote


class Shouting(socketserver.StreamRequestHandler):
    """The server: answers each line in capitals, and hangs up after "bye"."""

    def handle(self) -> None:
        """Serve one connection."""
        for line in self.rfile:
            self.wfile.write(line.upper())
            if line == b"bye\n":
                return


class Line:
    """One connection: ask a question, get an answer."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected socket."""
        self.sock = sock
        self.file = sock.makefile("rwb")
        self.waiting = False

    def ask(self, question: str) -> str:
        """Send a line and wait for the other."""
        self.waiting = True
        self.file.write(f"{question}\n".encode())
        self.file.flush()
        answer = self.file.readline()
        if not answer.endswith(b"\n"):
            raise ConnectionError("the server closed the line")
        self.waiting = False
        return answer.decode().rstrip("\n")


class LineConnector:
    """How the pool opens lines and looks after them. Only `connect` and `close` are needed."""

    def __init__(self, host: str, port: int) -> None:
        """Remember where the server is."""
        self.address = (host, port)

    def connect(self, timeout: float) -> Line:
        """Open one within `timeout` seconds."""
        sock = socket.create_connection(self.address, timeout)
        sock.settimeout(None)
        return Line(sock)

    def close(self, line: Line) -> None:
        """Close it."""
        line.file.close()
        line.sock.close()

    def fileno(self, line: Line) -> int:
        """Let the pool see for free that the server hung up."""
        return line.sock.fileno()

    def ping(self, line: Line) -> None:
        """Ask for an answer."""
        line.ask("ping")

    def is_broken(self, line: Line) -> bool:
        """Say whether an answer is still under way."""
        return line.waiting


def main() -> None:
    host = "127.0.0.1"
    with socketserver.ThreadingTCPServer((host, 0), Shouting) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with cenote.Pool(LineConnector(host, server.server_address[1]), max_open=2, name="lines") as pool:
            with pool.connection() as line:
                print(line.ask("hello"))
                print(line.ask("bye"))  # the server hangs up after this one
                line.sock.recv(1, socket.MSG_PEEK)  # returns when it has
            with pool.connection() as line:
                print(line.ask("hello again"))
            print(f"{pool.stats().dead_on_acquire} found dead and replaced")
        server.shutdown()


if __name__ == "__main__":
    main()
