"""JT/T 808 (2011, 2013, 2019): the terminals of Chinese buses, over TCP.

frame.py splits and builds frames, message.py and terminal.py read and write bodies, packets.py joins sub-packets,
reports.py turns fixes into positions, hints.py reads what they say of the trip, lane.py is the short way for the plain
report, session.py the platform's side of one connection, with login.py (who may come in), limits.py (how often somebody
may try), outbox.py and commands.py (what goes down); conflicts.py knows two terminals under one phone; describe.py
explains a frame to people. None of them does I/O: busd/feeds/transport.py and its two files move the bytes.
"""
