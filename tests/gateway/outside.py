"""A simulated Internet: outside.py ADDRESS...

Says `outside` to whoever gets through, on the ports that an agent might try, over TCP, TLS and UDP.
"""

import selectors
import socket
import sys

TCP = [22, 25, 53, 80, 443, 853, 8080, 9418]
UDP = [53, 123, 443, 4433, 51820]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\noutside"

ready = selectors.DefaultSelector()
for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in TCP:
        listener = socket.create_server((address, port), family=family, backlog=64)
        ready.register(listener, selectors.EVENT_READ, "tcp")
    for port in UDP:
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind((address, port))
        ready.register(datagrams, selectors.EVENT_READ, "udp")
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        if key.data == "udp":
            _, peer = key.fileobj.recvfrom(2048)
            key.fileobj.sendto(b"outside", peer)
        else:
            connection, _ = key.fileobj.accept()
            with connection:
                connection.sendall(ANSWER)
