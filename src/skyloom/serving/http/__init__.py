"""HTTP/1.1 in the event loop: what clients send becomes requests, and what they are answered goes back.

It is our own, over llhttp (httptools) and the loop's transports: a server with threads of its own spends more processor time
on handing a small request over than its answer takes.
"""

from skyloom.serving.http.eager import own_task
from skyloom.serving.http.request import BrokenOff, Headers, Request, Stream
from skyloom.serving.http.server import HttpServer

__all__ = ["BrokenOff", "Headers", "HttpServer", "Request", "Stream", "own_task"]
