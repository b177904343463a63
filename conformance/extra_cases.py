"""Cases that Autobahn lacks: masking (14.*) and misuse of permessage-deflate (15.*)."""
import zlib
from .case import Case
from autobahn.websocket.compress import (PerMessageDeflateOffer, PerMessageDeflateOfferAccept,
    PerMessageDeflateResponse, PerMessageDeflateResponseAccept)
__all__ = ["Own"]
BAD, UTF8 = 1002, 1007

def packed(data, final = False):
   c = zlib.compressobj(6, zlib.DEFLATED, -15)
   return (c.compress(data) + c.flush() + bytes(1)) if final else (c.compress(data) + c.flush(zlib.Z_SYNC_FLUSH))[:-4]

HELLO = packed(b"Hello, Hello, Hello")
# id, deflate?, description, frames (opcode, fin, rsv, payload), echo expected or close codes allowed
TABLE = [
 ("14_1", False, "text frame with the wrong masking", [(1, True, 0, b"Hello")], [BAD]),
 ("14_2", False, "binary frame with the wrong masking", [(2, True, 0, b"Hello")], [BAD]),
 ("14_3", False, "ping with the wrong masking", [(9, True, 0, b"Hello")], [BAD]),
 ("14_4", False, "empty text frame with the wrong masking", [(1, True, 0, b"")], [BAD]),
 ("15_1", True, "uncompressed message after negotiation", [(1, True, 0, b"plain")], "plain"),
 ("15_2", True, "compressed message in one frame", [(1, True, 4, HELLO)], "Hello, Hello, Hello"),
 ("15_3", True, "compressed message, one octet per frame", None, "Hello, Hello, Hello"),
 ("15_4", True, "compressed message with empty fragments", [(1, False, 4, b""), (0, False, 0, HELLO), (0, True, 0, b"")], "Hello, Hello, Hello"),
 ("15_5", True, "empty compressed message (one octet 0x00)", [(1, True, 4, b"\0")], ""),
 ("15_6", True, "compressed message closed by a block with BFINAL", [(1, True, 4, packed(b"final", True))], "final"),
 ("15_7", True, "stored (uncompressed) DEFLATE block", [(1, True, 4, b"\0\5\0\xfa\xffHello\0")], "Hello"),
 ("15_8", True, "ping between two compressed fragments", [(1, False, 4, HELLO[:5]), (9, True, 0, b"p"), (0, True, 0, HELLO[5:])], "Hello, Hello, Hello"),
 ("15_9", True, "RSV1 on a continuation frame", [(1, False, 4, HELLO[:5]), (0, True, 4, HELLO[5:])], [BAD]),
 ("15_10", True, "RSV1 on a ping", [(9, True, 4, b"Hello")], [BAD]),
 ("15_11", True, "RSV2 with RSV1", [(1, True, 6, HELLO)], [BAD]),
 ("15_12", True, "octets which are no DEFLATE stream", [(2, True, 4, b"\xff" * 20)], [BAD, UTF8, 1003, 1008, 1011]),
 ("15_13", True, "compressed text which is not UTF-8", [(1, True, 4, packed(b"ok \xff\xfe"))], [UTF8]),
 ("15_14", True, "distance which reaches before the window", [(2, True, 4, b"\x02\x83\x00\x00")], [BAD, UTF8, 1003, 1008, 1011]),
]
for z in TABLE:
   if z[0] == "15_3":
      TABLE[TABLE.index(z)] = z[:3] + ([(0 if i else 1, i == len(HELLO) - 1, 0 if i else 4, HELLO[i:i+1]) for i in range(len(HELLO))],) + z[4:]

class Base(Case):
   def init(self):
      if self.DEFLATE:
         if self.p.factory.isServer:
            self.p.perMessageCompressionAccept = lambda offers: next((PerMessageDeflateOfferAccept(o) for o in offers if isinstance(o, PerMessageDeflateOffer)), None)
         else:
            self.p.perMessageCompressionOffers = [PerMessageDeflateOffer()]
            self.p.perMessageCompressionAccept = lambda r: PerMessageDeflateResponseAccept(r) if isinstance(r, PerMessageDeflateResponse) else None
   def onOpen(self):
      echo = isinstance(self.WANT, str)
      self.expectedClose = {"closedByMe": echo, "closeCode": [1000] if echo else self.WANT, "requireClean": echo}
      self.expected[Case.OK] = []
      if self.DEFLATE and self.p._perMessageCompress is None:
         self.expected = {}; self.behavior = Case.UNIMPLEMENTED
         self.expectedClose = {"closedByMe": True, "closeCode": [1000], "requireClean": True}
         self.p.sendClose(1000); return
      if echo:
         if any(f[0] == 9 for f in self.FRAMES): self.expected[Case.OK].append(("pong", "p"))
         self.expected[Case.OK].append(("message", self.WANT, False))
      if not self.DEFLATE:
         if self.p.factory.isServer: self.p.maskServerFrames = True
         else: self.p.maskClientFrames = False
      for op, fin, rsv, data in self.FRAMES:
         self.p.sendFrame(opcode = op, fin = fin, rsv = rsv, payload = data)
      if not self.DEFLATE and not self.p.factory.isServer: self.p.maskClientFrames = True
      self.p.killAfter(2)
   def onConnectionLost(self, failedByMe):
      Case.onConnectionLost(self, failedByMe)
      # here the code is the point: an unexpected one, or none where we had to give up, is a failure
      if self.behavior == Case.OK and self.behaviorClose in (Case.WRONG_CODE, Case.FAILED):
         self.behavior = Case.FAILED; self.result = self.resultClose

Own = [type("Case" + z[0], (Base,), {"DEFLATE": z[1], "FRAMES": z[3], "WANT": z[4], "DESCRIPTION": "Send: " + z[2],
       "EXPECTATION": "Echo" if isinstance(z[4], str) else "The connection is failed with " + " or ".join(map(str, z[4])) + ", or dropped"})
       for z in TABLE]
